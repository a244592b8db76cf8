"""Claims of f-DPO."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
