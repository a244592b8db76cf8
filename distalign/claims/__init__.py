"""The claims, one file a paper, in the order of the ledger."""

from __future__ import annotations

import difflib

from distalign.checks import InputError
from distalign.claims import (
    aot,
    density_ratio,
    distortion,
    distortion_rules,
    distortion_theorems,
    f_dpo,
    language_models,
    language_models_robust,
    ratio_first,
    ratio_language,
    ratio_rates,
    ratio_stress,
    robust,
    robust_algorithms,
    robust_duality,
    robust_rates,
)
from distalign.claims.claim import Claim

CLAIMS = (*aot.CLAIMS, *f_dpo.CLAIMS, *robust_duality.CLAIMS, *robust.CLAIMS, *robust_rates.CLAIMS, *robust_algorithms.CLAIMS,
          *density_ratio.CLAIMS, *ratio_first.CLAIMS, *ratio_rates.CLAIMS, *ratio_stress.CLAIMS,
          *ratio_language.CLAIMS, *distortion.CLAIMS, *distortion_theorems.CLAIMS, *distortion_rules.CLAIMS,
          *language_models.CLAIMS, *language_models_robust.CLAIMS)

__all__ = ["CLAIMS", "Claim", "claims"]


def claims(slugs: tuple[str, ...] = ()) -> tuple[Claim, ...]:
    """The claims named, or all of them, in the order of `CLAIMS`.

    Raises:
        InputError: an unknown slug; the message offers the nearest ones.
    """
    known = [c.slug for c in CLAIMS]
    for slug in slugs:
        if slug not in known:
            near = difflib.get_close_matches(slug, known, 3, 0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "`distalign ls` lists them"
            raise InputError(f"unknown slug {slug!r}: {hint}")
    return tuple(c for c in CLAIMS if not slugs or c.slug in slugs)
