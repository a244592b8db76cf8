"""Claims of DDRO and RDRO on a recurrent language model."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
