"""Claims on language models: the theory's predictions on a finite-response probe."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
