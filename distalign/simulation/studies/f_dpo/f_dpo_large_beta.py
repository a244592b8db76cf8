r"""With a strong pull to the reference every f-divergence is the same regulariser, once beta f''(1) is the
same.

For random rewards and references the optima of all admissible divergences are compared with the reverse KL's
(DPO's). At equal strength b = beta f''(1) their total variation falls like b^{-2}, with a constant that
theory computes from f'''(1)/f''(1); at equal beta it falls like b^{-1} only, wherever f''(1) is not 1: betas
of DPO and of a Jensen-Shannon loss must not be compared as they stand, for the latter pulls half as hard.
Symmetric divergences, f(u) = u f(1/u), share f'''(1)/f''(1) = -3/2, and agree among themselves to one order
more. Optima by `distalign.solvers.kkt`, predictions by `distalign.theory.f_dpo.asymptotics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import divergence
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, rate
from distalign.solvers.kkt import RegularisedOptimum, regularised_policy
from distalign.theory.f_dpo import asymptotics as theory

DEFECT = "equal beta in place of equal beta f''(1)"
DIVERGENCES = ("forward_kl", "alpha:0.3", "jensen_shannon", "squared_hellinger", "jeffreys", "chi2_plus_kl")
SYMMETRIC = (("jensen_shannon", "squared_hellinger"), ("jeffreys", "squared_hellinger"))
RESPONSES = 6
# |r| / b is then below one sixth on almost every response, and terms of the next order below it again
MIN_SIZE = 20.0


def cells(strengths: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per strength, each with problems of its own."""
    return [{"size": b, "problems": problems} for b in strengths]


def run(rng: np.random.Generator, *, size: float, problems: int, defect: bool = False) -> dict[str, Any]:
    """Distances of the optima at strength `size`, matched and not, on each problem."""
    reward = rng.normal(size=(problems, RESPONSES))
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), problems) + 0.2 / RESPONSES
    matched = {f: _optimum(reward, ref, size, f, match=not defect) for f in ("reverse_kl", *DIVERGENCES)}
    parts = []
    for f, best in matched.items():
        curvature = divergence(f).curvature
        beta = size if defect else size / curvature
        nearness = (ref * divergence(f).f(best.policy / ref)).sum(1)
        same_beta = _optimum(reward, ref, size, f, match=False)
        gap = theory.second_order_gap(reward, ref, theory.skew(f) - theory.skew("reverse_kl"))
        parts.append(
            pd.DataFrame(
                {
                    "pair": f,
                    "replicate": np.arange(problems),
                    "error": _tv(best, matched["reverse_kl"]),
                    "limit": gap / size**2,
                    "same_beta": _tv(same_beta, matched["reverse_kl"]),
                    "divergence": nearness,
                    "divergence_limit": theory.small_divergence(reward, ref, beta, curvature),
                }
            )
        )
    parts += [
        pd.DataFrame(
            {"pair": f"{f} - {g}", "replicate": np.arange(problems), "error": _tv(matched[f], matched[g])}
        )
        for f, g in SYMMETRIC
    ]
    return dict(pd.concat(parts, ignore_index=True))


def _optimum(
    reward: np.ndarray, ref: np.ndarray, strength: float, f: str, *, match: bool
) -> RegularisedOptimum:
    return regularised_policy(reward, ref, strength / divergence(f).curvature if match else strength, f)


def _tv(a: RegularisedOptimum, b: RegularisedOptimum) -> np.ndarray:
    return 0.5 * np.abs(a.policy - b.policy).sum(1)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distance to the reverse KL's optimum (or between two) by strength, with its limit, and the same at
    equal beta.
    """
    others, by = rows.query("pair != 'reverse_kl'"), ["pair", "size"]
    same_beta = summarise(others, by, "same_beta")[[*by, "mean", "low", "high"]]
    limit = rows.groupby(by, as_index=False).agg(limit=("limit", "mean"))
    return summarise(others, by).merge(same_beta, on=by, suffixes=("", "_same_beta")).merge(limit, on=by)


def _per_problem(rows: pd.DataFrame, kept: pd.Series) -> pd.DataFrame:
    """One row a problem: the mean distance over the pairs kept, which share the problem."""
    return pd.DataFrame(
        rows[kept].groupby(["size", "replicate"], as_index=False).agg(error=("error", "mean"))
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponents, the constant of the second order, and the size of the divergence, at strengths from
    `MIN_SIZE` on.
    """
    between = rows.pair.str.contains(" - ", regex=False)
    others, symmetric = _per_problem(rows, rows.pair.isin(DIVERGENCES)), _per_problem(rows, between)
    largest = rows[rows["size"] == rows["size"].max()]
    second = (
        largest[largest.pair.isin(DIVERGENCES)]
        .groupby("pair")
        .agg(error=("error", "mean"), limit=("limit", "mean"))
    )
    first = (
        largest[largest.divergence.notna()]
        .groupby("pair")
        .agg(divergence=("divergence", "mean"), limit=("divergence_limit", "mean"))
    )
    return [
        rate(
            "distance to DPO's optimum at equal beta f''(1)",
            others,
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
        growth("b^2 x distance = its limit, largest b", second.error, second.limit, 0.03),
        growth("D_f = Var r / (2 beta^2 f''(1)), largest b", first.divergence, first.limit, 0.02),
    ]
