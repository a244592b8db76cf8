"""Claims on language models: robust objectives and shifts on a finite-response probe."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
