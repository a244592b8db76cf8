"""The claims, one file a paper, in the order of the ledger."""

from __future__ import annotations

from distalign.checks import InputError, suggestion
from distalign.claims import (
    aot,
    density_ratio,
    distortion,
    f_dpo,
    follow_ups,
    free_generation,
    language_models,
    robust,
)
from distalign.claims.claim import Claim

CLAIMS = (
    *aot.CLAIMS,
    *f_dpo.CLAIMS,
    *robust.CLAIMS,
    *density_ratio.CLAIMS,
    *distortion.CLAIMS,
    *follow_ups.CLAIMS,
    *language_models.CLAIMS,
    *free_generation.CLAIMS,
)

__all__ = ["CLAIMS", "Claim", "claims"]


def claims(slugs: tuple[str, ...] = ()) -> tuple[Claim, ...]:
    """The claims named, or all of them, in the order of `CLAIMS`.

    Raises:
        InputError: an unknown slug; the message offers the nearest ones.
    """
    known = [c.slug for c in CLAIMS]
    for slug in slugs:
        if slug not in known:
            raise InputError(
                f"unknown slug {slug!r}: {suggestion(slug, known, shown=4)} `distalign ls` lists them all"
            )
    return tuple(c for c in CLAIMS if not slugs or c.slug in slugs)
