r"""Strict dominance is recognised exponentially fast: the chance that samples seem to violate it falls like
(1 - gap^2)^n.

V ~ Unif(0, 1) and U ~ gap + Unif(0, 1): U dominates V strictly, but n and n samples may have some u_(i) <
v_(i), and then the squared hinge at margin 0 is positive. The chance has a closed form
(`distalign.theory.aot.finite_samples.false_violation`, ours, by the reflection principle); the other road
counts positive values of `distalign.objectives.aot_unpaired`. At gap 0, where dominance holds with equality,
samples almost always seem to violate it: n/(n+1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from distalign.intervals import TAILS
from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.verdict import Check, growth, identity
from distalign.theory.aot.finite_samples import false_violation, false_violation_decay

MICRO_BATCH = 5
DEFECT = f"each sample sorted in micro-batches of {MICRO_BATCH} (gradient accumulation) instead of whole"
MIN_COUNT = (
    100  # cells where fewer violations, or fewer correct answers, are predicted are drawn but not judged
)


def cells(gaps: list[float], sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per gap and sample size, a multiple of the control's micro-batch."""
    return [{"gap": gap, "size": n, "replicates": replicates} for gap in gaps for n in sizes]


def run(
    rng: np.random.Generator, *, gap: float, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """How many replicates have a positive value."""
    batch = MICRO_BATCH if defect else size
    u, v = (torch.from_numpy(shift + rng.random((replicates * size // batch, batch))) for shift in (gap, 0.0))
    positive = (torch.func.vmap(_value)(u, v).reshape(replicates, -1) > 0).any(1)
    return {"violations": [int(positive.sum())], "predicted": [false_violation(size, gap)]}


def _value(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros_like(u)
    return aot_unpaired(
        PreferenceLogProbs(u, v, zeros, zeros, validate=False), penalty="squared_hinge", margin=0.0
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Frequency of a positive value by gap and size with its interval, and the exact chance."""
    frequency = rows.violations / rows.replicates
    low, high = (
        binom.ppf(tail, rows.replicates, frequency) / rows.replicates for tail in TAILS
    )  # the bootstrap's limit
    return pd.DataFrame(
        {
            "gap": rows.gap,
            "size": rows["size"],
            "replicates": rows.replicates,
            "frequency": frequency,
            "low": low,
            "high": high,
            "predicted": rows.predicted,
        }
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The exponential decay of each gap, and the exact chance in every cell."""
    kept = rows.loc[np.minimum(rows.predicted, 1 - rows.predicted) * rows.replicates >= MIN_COUNT]
    deviation = kept.violations / kept.replicates - kept.predicted
    errors = deviation / np.sqrt(kept.predicted * (1 - kept.predicted) / kept.replicates)
    strict = kept.loc[kept.gap > 0].groupby("gap")
    decays, predicted = (
        [_decay(mine) for _, mine in strict],
        [false_violation_decay(gap) for gap in strict.gap.first()],
    )
    return [
        growth("fall of the log-chance a sample = -log(1 - gap^2)", decays, predicted, 0.1),
        identity("frequency minus exact chance, in standard errors", errors, 4.0),
    ]


def _decay(rows: pd.DataFrame) -> float:
    """Slope of -log(frequency (n + 1)/n) on n; a count's logarithm has variance about 1/count."""
    n = rows["size"].to_numpy(float)
    frequency = rows.violations / rows.replicates
    return -float(np.polyfit(n, np.log(frequency * (n + 1) / n), 1, w=np.sqrt(rows.violations))[0])
