"""Claims of DDRO and RDRO."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
