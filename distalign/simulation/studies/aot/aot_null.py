"""Where dominance just holds, the sorted value decays like 1/n (squared hinge) and like n^{-1/2} (hinge).

U and V are both uniform on [0, 1] and the margin is 0, so the population cost is 0 and every value is
noise. The expected values are exact for every n,

    squared hinge:  1 / (6 (n + 1)),        hinge:  sqrt(pi)/8 Gamma(n + 1)/Gamma(n + 3/2)

(`distalign.theory.aot`, ours). The other road is `distalign.objectives.aot_unpaired` on random samples. So
on one population the guarantee n^{-1/2} of the paper's Corollary 1 is reached by the hinge and beaten by
its square.

The checks ask, for each penalty, that the exponent matches (within 0.1, a fifth of what lies between the
two exponents) and that the mean at every size is within four standard errors of the exact expectation.

The planted defect sorts each sample in micro-batches of eight (gradient accumulation) instead of whole. The
value then no longer falls with n, so all four checks must fail.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, identity, rate
from distalign.theory.aot.finite_samples import null_hinge_exact
from distalign.theory.aot.transport import null_squared_hinge

MICRO_BATCH = 8
DEFECT = f"each sample sorted in micro-batches of {MICRO_BATCH} (gradient accumulation) instead of whole"
EXPECTED = {"squared_hinge": null_squared_hinge, "hinge": null_hinge_exact}
EXPONENTS = {"squared_hinge": -1.0, "hinge": -0.5}
MIN_SIZE = 64  # below it the slope of 1/(n + 1) on n differs from -1 by more than 0.01


def cells(sizes: list[int], replicates: int, repeats: int) -> list[dict[str, Any]]:
    """One cell per sample size, a power of two; both penalties see the same samples."""
    return [{"size": n, "replicates": replicates, "repeats": repeats} for n in sizes]


def run(
    rng: np.random.Generator, *, size: int, replicates: int, repeats: int, defect: bool = False
) -> dict[str, Any]:
    """Value by penalty and replicate.

    A replicate is the mean over `repeats` samples, because a single value is about as wide as its mean.
    """
    batch = min(size, MICRO_BATCH) if defect else size
    u, v = (torch.from_numpy(rng.random((replicates * repeats * size // batch, batch))) for _ in range(2))
    values = [
        torch.func.vmap(partial(_value, penalty=h))(u, v).reshape(replicates, -1).mean(1).numpy()
        for h in EXPECTED
    ]
    return {
        "penalty": np.repeat(list(EXPECTED), replicates),
        "replicate": np.tile(np.arange(replicates), len(EXPECTED)),
        "error": np.concatenate(values),
        "predicted": np.repeat([f(size) for f in EXPECTED.values()], replicates),
    }


def _value(u: torch.Tensor, v: torch.Tensor, penalty: str) -> torch.Tensor:
    """The value of one sample of each class at margin 0."""
    zeros = torch.zeros_like(u)
    return aot_unpaired(PreferenceLogProbs(u, v, zeros, zeros, validate=False), penalty=penalty, margin=0.0)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean value by penalty and size with its interval, and the exact expectation."""
    predicted = rows.groupby(["penalty", "size"], as_index=False).agg(predicted=("predicted", "first"))
    return summarise(rows, ["penalty", "size"]).merge(predicted, on=["penalty", "size"])


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both exponents, and both exact expectations at every size."""
    out = []
    for penalty, exponent in EXPONENTS.items():
        of_penalty, name = rows.loc[rows.penalty == penalty], penalty.replace("_", " ")
        # The margin is a fifth of what lies between the two exponents.
        out += [
            rate(f"{name}: mean value", of_penalty, matches=exponent, margin=0.1, min_size=MIN_SIZE),
            # Four standard errors: in less than one run of five hundred does one of two dozen honest means
            # lie outside.
            identity(
                f"{name}: mean minus exact expectation, in standard errors", _standard_errors(of_penalty), 4.0
            ),
        ]
    return out


def _standard_errors(rows: pd.DataFrame) -> pd.Series:
    """Mean minus exact expectation at each size, in standard errors of the mean."""
    groups = rows.groupby("size")
    return (groups.error.mean() - groups.predicted.first()) / groups.error.sem()
