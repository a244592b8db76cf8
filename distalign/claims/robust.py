"""Claims of WDPO and KLDPO."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
