"""Claims of the distortion of alignment: the theorems and their worst cases."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
