"""The chance that samples seem to violate a strict dominance falls exponentially, like (1 - gap^2)^n.

With V ~ Unif(0, 1) and U ~ gap + Unif(0, 1), U dominates V strictly. Yet n and n samples may have some
u_(i) < v_(i), and then the squared hinge at margin 0 is positive. At gap 0, where dominance holds with
equality, samples almost always seem to violate it: with chance n/(n+1).

One road is the closed form of that chance (`distalign.theory.aot.finite_samples.false_violation`, ours, by
the reflection principle). The other counts positive values of `distalign.objectives.aot_unpaired`.

The checks ask that the log-chance falls by -log(1 - gap^2) per sample, within 10 %, at each gap above 0,
and that every observed frequency is within four standard errors of the exact chance. Cells in which fewer
than 100 violations, or fewer than 100 correct answers, are predicted are drawn and tabulated but not
judged.

The planted defect sorts each sample in micro-batches of five (gradient accumulation) instead of whole. One
violated micro-batch out of many is enough for a positive value, so violations become far more frequent and
no longer rarer with n: both checks must fail.
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
# Cells in which fewer violations, or fewer correct answers, are predicted are drawn but not judged.
MIN_COUNT = 100


def cells(gaps: list[float], sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per gap and sample size; sizes are multiples of the planted defect's micro-batch."""
    return [{"gap": gap, "size": n, "replicates": replicates} for gap in gaps for n in sizes]


def run(
    rng: np.random.Generator, *, gap: float, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """How many replicates have a positive value, and the exact chance of one."""
    batch = MICRO_BATCH if defect else size
    u, v = (torch.from_numpy(shift + rng.random((replicates * size // batch, batch))) for shift in (gap, 0.0))
    positive = (torch.func.vmap(_value)(u, v).reshape(replicates, -1) > 0).any(1)
    return {"violations": [int(positive.sum())], "predicted": [false_violation(size, gap)]}


def _value(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The squared-hinge value of one sample of each class."""
    zeros = torch.zeros_like(u)
    return aot_unpaired(
        PreferenceLogProbs(u, v, zeros, zeros, validate=False), penalty="squared_hinge", margin=0.0
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Frequency of a positive value by gap and size with its interval, and the exact chance."""
    frequency = rows.violations / rows.replicates
    # A frequency of independent replicates is binomial, so its interval needs no estimate of a variance.
    low, high = (binom.ppf(tail, rows.replicates, frequency) / rows.replicates for tail in TAILS)
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
    """The exponential decay at each gap, and the exact chance in every cell."""
    judged = rows.loc[np.minimum(rows.predicted, 1 - rows.predicted) * rows.replicates >= MIN_COUNT]
    deviation = judged.violations / judged.replicates - judged.predicted
    standard_errors = deviation / np.sqrt(judged.predicted * (1 - judged.predicted) / judged.replicates)
    strict = judged.loc[judged.gap > 0].groupby("gap")
    decays, predicted = (
        [_decay(mine) for _, mine in strict],
        [false_violation_decay(gap) for gap in strict.gap.first()],
    )
    return [
        growth("fall of the log-chance a sample = -log(1 - gap^2)", decays, predicted, 0.1),
        identity("frequency minus exact chance, in standard errors", standard_errors, 4.0),
    ]


def _decay(rows: pd.DataFrame) -> float:
    """Slope of -log(frequency (n + 1)/n) on n.

    The factor (n + 1)/n takes out the closed form's only other dependence on n. A count's logarithm has
    variance about 1/count, hence the weights.
    """
    n = rows["size"].to_numpy(float)
    frequency = rows.violations / rows.replicates
    return -float(np.polyfit(n, np.log(frequency * (n + 1) / n), 1, w=np.sqrt(rows.violations))[0])
