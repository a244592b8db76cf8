"""The sorted value of n samples approaches the population cost like n^{-1/2}, with a known constant.

The paper's Corollary 1 guarantees n^{-1/2} for the plug-in transport cost. That the exponent is exact at
fixed laws, and its constant, is a central limit theorem (ours).

U and V are two fixed Gaussians and the penalty is least squares, so both the population cost and the
limiting standard deviation are closed forms (`distalign.theory.aot.transport`). The estimate is
`distalign.objectives.aot_unpaired` on n chosen and n rejected log-ratios, all replicates of a size at once.

The checks ask that the mean absolute error has the exponent -1/2, and that sqrt(n) times the standard
deviation is the constant of the limit. That constant is the same at every size, so the sizes are taken
together, and four of its standard errors are the tolerance: 1.7 % at full size.

The planted defects: one class is left unsorted, so that the error tends to a constant and has no rate; the
margin of the penalty is 10 % off, which moves the value and with it both checks; and the constant of theory
is 7 % off, twice the tolerance of the small preset.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives.aot import aot_unpaired
from distalign.preferences import PreferenceLogProbs, quantile_coupling
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot.mistakes import rejected_unsorted
from distalign.simulation.verdict import Check, growth, rate
from distalign.theory.aot import transport as theory

# Below this size the bias of the plug-in value, a fifth of its deviation here, adds more than two per cent to
# the mean absolute error.
MIN_SIZE = 800
DEFECTS = (
    Defect(
        "the rejected class left unsorted",
        quantile_coupling,
        rejected_unsorted,
        where(size=MIN_SIZE),
    ),
    Defect("the margin of the penalty 10 % too large", aot_unpaired, argument("margin", lambda x: 1.1 * x)),
    Defect(
        "the constant of the limit 7 % too large",
        theory.gaussian_least_squares_sd,
        result(lambda x: 1.07 * x),
        no_cell,
    ),
)
MEAN_U, SD_U, MEAN_V, SD_V, TARGET = 0.4, 1.0, 0.0, 1.5, 0.7
BLOCK = 2**20  # samples of each class held at once


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per sample size."""
    return [{"size": n, "replicates": replicates} for n in sizes]


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Signed error of the sorted value in each replicate."""
    block = max(1, BLOCK // size)
    value = np.concatenate(
        [_values(rng, size, min(block, replicates - r)) for r in range(0, replicates, block)]
    )
    truth = theory.gaussian_least_squares(MEAN_U, SD_U, MEAN_V, SD_V, TARGET)
    deviation = value - truth
    return {"replicate": np.arange(replicates), "deviation": deviation, "error": np.abs(deviation)}


def _values(rng: np.random.Generator, size: int, replicates: int) -> np.ndarray:
    """Estimates of several replicates at once."""
    u = torch.from_numpy(rng.normal(MEAN_U, SD_U, (replicates, size)))
    v = torch.from_numpy(rng.normal(MEAN_V, SD_V, (replicates, size)))
    return torch.func.vmap(_sorted)(u, v).numpy()


def _sorted(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The sorted value of one sample of each class."""
    zeros = torch.zeros_like(u)
    loss = partial(aot_unpaired, penalty="least_squares", margin=TARGET)
    return loss(PreferenceLogProbs(u, v, zeros, zeros, validate=False))


def predicted_deviation() -> float:
    """sqrt(n) times the standard deviation that the central limit theorem predicts."""
    return theory.gaussian_least_squares_sd(MEAN_U, SD_U, MEAN_V, SD_V, TARGET)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute error by size with its interval, and the prediction sd sqrt(2 / (pi n))."""
    out = summarise(rows, ["size"])
    return out.assign(predicted=predicted_deviation() * np.sqrt(2 / np.pi / out["size"]))


def checks(rows: pd.DataFrame) -> list[Check]:
    """The exponent, and the constant from all sizes together."""
    judged = rows.loc[rows["size"] >= MIN_SIZE]
    scaled = np.sqrt((judged.groupby("size").deviation.var() * np.unique(judged["size"])).mean())
    # The standard deviation of R normal draws is known to 1 / sqrt(2 R): four of those is the tolerance.
    tolerance = 4 / np.sqrt(2 * len(judged))
    return [
        rate("mean absolute error of the plug-in value", rows, matches=-0.5, margin=0.05, min_size=MIN_SIZE),
        growth(
            "sqrt(n) sd of the value = central limit constant", [scaled], [predicted_deviation()], tolerance
        ),
    ]
