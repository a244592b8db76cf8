"""Claims on language models that write freely: where the theory says they must end, before they are trained."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
