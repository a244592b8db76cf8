"""The chance that samples seem to violate a strict dominance falls exponentially, like (1 - gap^2)^n.

With V ~ Unif(0, 1) and U ~ gap + Unif(0, 1), U dominates V strictly. Yet n and n samples may have some
u_(i) < v_(i), and then the squared hinge at margin 0 is positive. At gap 0, where dominance holds with
equality, samples almost always seem to violate it: with chance n/(n+1).

One road is the closed form of that chance (`distalign.theory.aot.finite_samples.false_violation`, ours, by
the reflection principle). The other counts positive values of `distalign.objectives.aot_unpaired`.

The checks ask that the log-chance falls by -log(1 - gap^2) per sample at each gap above 0, and that every
observed frequency is within four standard errors of the exact chance. The fall is fitted with the factor
n/(n+1) (1-gap)/(1+gap) given. Its tolerance is four of its standard errors, at most 2 % at full size. Cells
in which fewer than 100 violations, or fewer than 100 correct answers, are predicted are drawn and tabulated
but not judged.

The planted defects: a margin of 0.02 where none is asked for, which takes as much from the gap; and each of
the two laws off, the fall by twice the tolerance of the small preset and the chance by one sample.
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
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.verdict import Check, growth, identity
from distalign.theory.aot.finite_samples import false_violation, false_violation_decay

DEFECTS = (
    Defect("a margin of 0.02 in place of 0", aot_unpaired, argument("margin", lambda x: x + 0.02)),
    Defect("the fall 7 % too large", false_violation_decay, result(lambda x: 1.07 * x), no_cell),
    Defect("the chance at n + 1", false_violation, argument("n", lambda n: n + 1), no_cell),
)
# Cells in which fewer violations, or fewer correct answers, are predicted are drawn but not judged.
MIN_COUNT = 100


def cells(gaps: list[float], sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per gap and sample size."""
    return [{"gap": gap, "size": n, "replicates": replicates} for gap in gaps for n in sizes]


def run(rng: np.random.Generator, *, gap: float, size: int, replicates: int) -> dict[str, Any]:
    """How many replicates have a positive value."""
    u, v = (torch.from_numpy(shift + rng.random((replicates, size))) for shift in (gap, 0.0))
    return {"violations": [int((torch.func.vmap(_value)(u, v) > 0).sum())]}


def _predicted(rows: pd.DataFrame) -> np.ndarray:
    """The exact chance of a positive value in each cell."""
    return np.array([false_violation(n, gap) for n, gap in zip(rows["size"], rows.gap, strict=True)])


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
            "predicted": _predicted(rows),
        }
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The exponential decay at each gap, and the exact chance in every cell."""
    rows = rows.assign(predicted=_predicted(rows))
    judged = rows.loc[np.minimum(rows.predicted, 1 - rows.predicted) * rows.replicates >= MIN_COUNT]
    deviation = judged.violations / judged.replicates - judged.predicted
    standard_errors = deviation / np.sqrt(judged.predicted * (1 - judged.predicted) / judged.replicates)
    strict = judged.loc[judged.gap > 0].groupby("gap")
    decays, errors = np.array([_decay(gap, mine) for gap, mine in strict]).T
    predicted = [false_violation_decay(gap) for gap in strict.groups]
    tolerance = 4 * float((errors / decays).max())
    return [
        growth("fall of the log-chance a sample = -log(1 - gap^2)", decays, predicted, tolerance),
        identity("frequency minus exact chance, in standard errors", standard_errors, 4.0),
    ]


def _decay(gap: float, rows: pd.DataFrame) -> tuple[float, float]:
    """Slope of -log(frequency (n+1)/n (1+gap)/(1-gap)) on n, through the origin, with its standard error.

    The logarithm of a frequency f of R trials has variance (1 - f)/(R f), hence the weights.
    """
    n, frequency = rows["size"].to_numpy(float), (rows.violations / rows.replicates).to_numpy()
    fall = -np.log(frequency * (n + 1) / n * (1 + gap) / (1 - gap))
    information = rows.replicates * frequency / (1 - frequency)
    return (information * n) @ fall / (information @ n**2), (information @ n**2) ** -0.5
