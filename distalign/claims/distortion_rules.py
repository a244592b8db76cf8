"""Claims of the distortion of alignment: samples, regularisation, searches and rules side by side."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
