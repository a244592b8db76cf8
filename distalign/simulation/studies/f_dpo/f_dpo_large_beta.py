"""With a strong pull to the reference all f-divergences are one regulariser, once beta f''(1) is the same.

This is ours; the paper has no such statement. For random rewards and references the optima of all
admissible divergences are compared with the reverse KL's (DPO's), by total variation. Three laws are
predicted:

* At equal strength b = beta f''(1) the distance falls like b^{-2}, with a constant that theory computes
  from f'''(1)/f''(1).
* At equal beta it falls like b^{-1} only, wherever f''(1) is not 1. So betas of DPO and of a Jensen-Shannon
  loss must not be compared as they stand: the latter pulls half as hard.
* Symmetric divergences, f(u) = u f(1/u), share f'''(1)/f''(1) = -3/2, and agree among themselves to one
  order more.

The optima come from `distalign.solvers.kkt`, DPO's from its closed form
(`distalign.theory.f_dpo.closed_forms`), the predictions from `distalign.theory.f_dpo.asymptotics`.

The checks ask for the exponents -2 against DPO and -3 between symmetric divergences; that b^2 times the
distance is its limit at the largest b; and that D_f of the optimum is Var r / (2 beta^2 f''(1)) there. Both
sides see the same problems, so what is left is the next order in 1/b: the tolerance is 1/b of the limit.

The planted defects: beta 10 % too large in the solver; f''(1) of the Jeffreys divergence 5 % too large; and
both limits off by twice the tolerance of the smallest preset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import Divergence, divergence
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, rate
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo import asymptotics as theory
from distalign.theory.f_dpo.closed_forms import reverse_kl_optimum

DIVERGENCES = ("forward_kl", "alpha:0.3", "jensen_shannon", "squared_hellinger", "jeffreys", "chi2_plus_kl")
SYMMETRIC = (("jensen_shannon", "squared_hellinger"), ("jeffreys", "squared_hellinger"))
RESPONSES = 6
# From this strength on |r| / b is below one sixth on almost every response, and terms of the next order are
# smaller again by that factor.
MIN_SIZE = 20.0
NEXT_ORDER = 1.0  # times 1/b: what the limits leave out, as a share of them
DEFECTS = (
    Defect("beta 10 % too large in the solver", regularised_policy, argument("beta", lambda b: 1.1 * b)),
    Defect("f''(1) of the Jeffreys divergence 5 % too large", divergence, lambda right: _too_curved(right)),
    Defect(
        "the limit of the distance 1 % too large",
        theory.second_order_gap,
        result(lambda limit: 1.01 * limit),
        where(size=200),
    ),
    Defect(
        "the limit of the divergence 1 % too large",
        theory.small_divergence,
        result(lambda limit: 1.01 * limit),
        where(size=200),
    ),
)


def _too_curved(right: Callable[[str | Divergence], Divergence]) -> Callable[[str | Divergence], Divergence]:
    """`divergence` with a wrong entry in its table."""

    def wrong(name: str | Divergence) -> Divergence:
        found = right(name)
        return replace(found, curvature=1.05 * found.curvature) if name == "jeffreys" else found

    return wrong


def cells(strengths: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per strength, each with problems of its own."""
    return [{"size": b, "problems": problems} for b in strengths]


def run(rng: np.random.Generator, *, size: float, problems: int) -> dict[str, Any]:
    """Distances of the optima at strength `size`, at equal beta f''(1) and at equal beta, on each problem."""
    reward = rng.normal(size=(problems, RESPONSES))
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), problems) + 0.2 / RESPONSES
    dpo = reverse_kl_optimum(reward, ref, size)
    matched = {f: _optimum(reward, ref, size / divergence(f).curvature, f) for f in DIVERGENCES}
    frames = []
    for f, optimum in matched.items():
        curvature = divergence(f).curvature
        gap = theory.second_order_gap(reward, ref, theory.skew(f) - theory.skew("reverse_kl"))
        frames.append(
            pd.DataFrame(
                {
                    "pair": f,
                    "replicate": np.arange(problems),
                    "error": _tv(optimum, dpo),
                    "limit": gap / size**2,
                    "same_beta": _tv(_optimum(reward, ref, size, f), dpo),
                    "divergence": (ref * divergence(f).f(optimum / ref)).sum(1),
                    "divergence_limit": theory.small_divergence(reward, ref, size / curvature, curvature),
                }
            )
        )
    frames += [
        pd.DataFrame(
            {"pair": f"{f} - {g}", "replicate": np.arange(problems), "error": _tv(matched[f], matched[g])}
        )
        for f, g in SYMMETRIC
    ]
    return dict(pd.concat(frames, ignore_index=True))


def _optimum(reward: np.ndarray, ref: np.ndarray, beta: float, f: str) -> np.ndarray:
    """(R, K) the optimum of each problem."""
    return regularised_policy(reward, ref, beta, f).policy


def _tv(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(R,) total variation of two policies."""
    return 0.5 * np.abs(a - b).sum(1)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distance to the reverse KL's optimum (or between two) by strength, with its limit. Beside it
    stands the same distance at equal beta.
    """
    by = ["pair", "size"]
    same_beta = summarise(rows, by, "same_beta")[[*by, "mean", "low", "high"]]
    limit = rows.groupby(by, as_index=False).agg(limit=("limit", "mean"))
    return summarise(rows, by).merge(same_beta, on=by, suffixes=("", "_same_beta")).merge(limit, on=by)


def _per_problem(rows: pd.DataFrame, kept: pd.Series) -> pd.DataFrame:
    """One row a problem: the mean distance over the pairs kept, which share the problem."""
    return pd.DataFrame(
        rows[kept].groupby(["size", "replicate"], as_index=False).agg(error=("error", "mean"))
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponents, the constant of the second order, and the size of the divergence.

    Exponents are fitted to strengths from `MIN_SIZE` on.
    """
    is_symmetric_pair = rows.pair.str.contains(" - ", regex=False)
    against_dpo, symmetric = (
        _per_problem(rows, rows.pair.isin(DIVERGENCES)),
        _per_problem(rows, is_symmetric_pair),
    )
    largest = rows[rows["size"] == rows["size"].max()]
    tolerance = NEXT_ORDER / rows["size"].max()
    distances = (
        largest[largest.pair.isin(DIVERGENCES)]
        .groupby("pair")  # pyright: ignore
        .agg(error=("error", "mean"), limit=("limit", "mean"))
    )
    divergences = (
        largest[largest.divergence.notna()]
        .groupby("pair")  # pyright: ignore
        .agg(divergence=("divergence", "mean"), limit=("divergence_limit", "mean"))
    )
    return [
        rate(
            "distance to DPO's optimum at equal beta f''(1)",
            against_dpo,
            matches=theory.STRONG_PULL_EXPONENT,
            margin=0.1,
            min_size=MIN_SIZE,
        ),
        rate(
            "distance between symmetric divergences",
            symmetric,
            matches=theory.EQUAL_SKEW_EXPONENT,
            margin=0.15,
            min_size=MIN_SIZE,
        ),
        growth("b^2 x distance = its limit, largest b", distances.error, distances.limit, tolerance),  # pyright: ignore[reportArgumentType]
        growth(
            "D_f = Var r / (2 beta^2 f''(1)), largest b",
            divergences.divergence,  # pyright: ignore[reportArgumentType]
            divergences.limit,  # pyright: ignore[reportArgumentType]
            tolerance,  # pyright: ignore[reportArgumentType]
        ),
    ]
