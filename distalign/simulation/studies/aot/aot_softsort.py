"""Below a threshold of its strength the soft sort of the AOT paper is exactly the hard sort.

The threshold (ours) is that no gap of the sorted values exceeds 1 / strength. At the usual strength 0.1
gaps up to 10 nats are sorted hard: a batch of 35 log-ratios with a standard deviation of 5 nats always is,
one of 20 nats mostly is not. That the two variants perform alike on language models is the paper's
observation (its Table 7).

For a few values the soft sort by `distalign.solvers.soft_sort` (pool adjacent violators) is compared with
the projection on the permutahedron as a quadratic program (cvxpy). On batches of the paper's size the
soft-sorted logistic value is compared with that of `distalign.objectives.aot_unpaired`. Both run at shares
of the threshold below and above 1.

The checks ask that up to the threshold the soft sort is the hard sort and the value is AOT's, to 1e-12;
that the solver is its oracle on both sides; and that beyond the threshold the two sorts differ in every
sample, if only by a millionth of the spread: rounding is a million times smaller.

The planted defects: a strength 10 % too large, which puts the threshold itself beyond it; pools that are
merged with their nearest neighbour only, so that the solver stops short of the projection; and a threshold
that takes the range of the values for their largest gap, at twice which both sorts still agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.oracles.permutahedron import project_on_permutahedron
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.soft_sort import _non_increasing, exact_strength, soft_sort

BETA, LOG_RATIO_DEVIATION = 0.01, 20.0


def _merged_once(right: Any) -> Any:
    """`_non_increasing` by a developer who did not look further back after merging two pools."""

    def wrong(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means: list[float] = []
        counts: list[int] = []
        for value in y:
            if means and means[-1] < value:
                means[-1] = (means[-1] * counts[-1] + value) / (counts[-1] + 1)
                counts[-1] += 1
            else:
                means.append(float(value))
                counts.append(1)
        return np.array(means), np.array(counts)

    return wrong


def _of_the_range(right: Any) -> Any:
    """`exact_strength` by a developer who took the range of the values for their largest gap."""
    return lambda values: 1 / float(np.ptp(values))


DEFECTS = (
    Defect("the strength 10 % too large", soft_sort, argument("strength", lambda x: 1.1 * x)),
    Defect("pools merged once only", _non_increasing, _merged_once, lambda a: a["oracle"]),
    Defect("the range in place of the largest gap", exact_strength, _of_the_range, lambda a: a["share"] > 1),
)


def cells(shares: list[float], sizes: list[int], oracle_up_to: int, replicates: int) -> list[dict[str, Any]]:
    """One cell per share of the threshold and number of values; the oracle joins where these are few."""
    return [
        {"share": s, "size": n, "oracle": n <= oracle_up_to, "replicates": replicates}
        for s in shares
        for n in sizes
    ]


def run(
    rng: np.random.Generator, *, share: float, size: int, oracle: bool, replicates: int
) -> dict[str, Any]:
    """Deviation of the soft sort from the hard one and from the oracle, and of the value it gives."""
    rows = [
        _replicate(
            rng.normal(0, LOG_RATIO_DEVIATION, size),
            rng.normal(0, LOG_RATIO_DEVIATION, size),
            share,
            oracle,
        )
        for _ in range(replicates)
    ]
    return {"replicate": np.arange(replicates), **{name: [row[name] for row in rows] for name in rows[0]}}


def _replicate(u: np.ndarray, v: np.ndarray, share: float, oracle: bool) -> dict[str, float]:
    """The deviations on log-ratios as wide as those of a trained language model.

    One strength is used for both lists, the smaller of their thresholds times `share`.
    """
    strength = share * min(exact_strength(u), exact_strength(v))
    soft_u, soft_v = soft_sort(u, strength), soft_sort(v, strength)
    targets = np.arange(len(u), 0, -1) / strength
    a, b, zeros = (torch.from_numpy(x) for x in (u, v, 0 * u))
    hard = aot_unpaired(PreferenceLogProbs(a, b, zeros, zeros), beta=BETA)
    return {
        "to_hard": max(np.abs(soft_u + np.sort(-u)).max(), np.abs(soft_v + np.sort(-v)).max())
        / LOG_RATIO_DEVIATION,
        "value": np.logaddexp(0, -BETA * (soft_u - soft_v)).mean() - float(hard),
        "to_oracle": np.abs(soft_u - project_on_permutahedron(targets, u)).max() / LOG_RATIO_DEVIATION
        if oracle
        else np.nan,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviations per share of the threshold and number of values."""
    return (
        rows.assign(value=rows.value.abs())
        .groupby(["share", "size"], as_index=False)
        .agg(
            replicates=("value", "size"),
            largest_from_hard=("to_hard", "max"),
            largest_from_oracle=("to_oracle", "max"),
            largest_change_of_value=("value", "max"),
        )
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Equal to the hard sort up to the threshold and not beyond it; the solver equals its oracle."""
    up_to_threshold = rows.share <= 1
    return [
        identity("up to the threshold: soft sort = hard sort", rows.to_hard[up_to_threshold], 1e-12),
        identity("up to the threshold: value = aot_unpaired", rows.value[up_to_threshold], 1e-12),
        # At the threshold itself the program is degenerate: a duality gap of 1e-12 leaves the point off by
        # some 1e-6.
        identity("soft sort = projection by quadratic program", rows.to_oracle.dropna(), 1e-4),
        differs("beyond the threshold, in every sample", [rows.to_hard[~up_to_threshold].min()], 1e-6),
    ]
