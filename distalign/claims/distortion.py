"""Claims of the distortion of alignment."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
