"""Where dominance just holds, the sorted value decays like 1/n (squared hinge) and like n^{-1/2} (hinge).

U and V are both uniform on [0, 1] and the margin is 0, so the population cost is 0 and every value is
noise. The expected values are exact for every n,

    squared hinge:  1 / (6 (n + 1)),        hinge:  sqrt(pi)/8 Gamma(n + 1)/Gamma(n + 3/2)

(`distalign.theory.aot`, ours). The other road is `distalign.objectives.aot_unpaired` on random samples. So
on one population the guarantee n^{-1/2} of the paper's Corollary 1 is reached by the hinge and beaten by
its square.

The checks ask, for each penalty, that the exponent matches (within 0.1, a fifth of what lies between the
two exponents) and that the mean at every size is within four standard errors of the exact expectation.

The planted defects: a margin of 0.02 where none is asked for, so that the values tend to a constant and have
neither exponents nor expectations; and each of the two expectations with n in the place of a number near it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, identity, rate
from distalign.theory.aot.finite_samples import null_hinge_exact
from distalign.theory.aot.transport import null_squared_hinge

DEFECTS = (
    Defect("a margin of 0.02 in place of 0", aot_unpaired, argument("margin", lambda x: x + 0.02)),
    Defect("1/(6 n) in place of 1/(6 (n + 1))", null_squared_hinge, argument("n", lambda n: n - 1), no_cell),
    Defect("the hinge's expectation at n + 1", null_hinge_exact, argument("n", lambda n: n + 1), no_cell),
)
EXPECTED = {"squared_hinge": null_squared_hinge, "hinge": null_hinge_exact}
EXPONENTS = {"squared_hinge": -1.0, "hinge": -0.5}
MIN_SIZE = 64  # below it the slope of 1/(n + 1) on n differs from -1 by more than 0.01


def cells(sizes: list[int], replicates: int, repeats: int) -> list[dict[str, Any]]:
    """One cell per sample size, a power of two; both penalties see the same samples."""
    return [{"size": n, "replicates": replicates, "repeats": repeats} for n in sizes]


def run(rng: np.random.Generator, *, size: int, replicates: int, repeats: int) -> dict[str, Any]:
    """Value by penalty and replicate.

    A replicate is the mean over `repeats` samples, because a single value is about as wide as its mean.
    """
    u, v = (torch.from_numpy(rng.random((replicates * repeats, size))) for _ in range(2))
    values = [
        torch.func.vmap(partial(_value, penalty=h))(u, v).reshape(replicates, -1).mean(1).numpy()
        for h in EXPECTED
    ]
    return {
        "penalty": np.repeat(list(EXPECTED), replicates),
        "replicate": np.tile(np.arange(replicates), len(EXPECTED)),
        "error": np.concatenate(values),
    }


def _value(u: torch.Tensor, v: torch.Tensor, penalty: str) -> torch.Tensor:
    """The value of one sample of each class at margin 0."""
    zeros = torch.zeros_like(u)
    return aot_unpaired(PreferenceLogProbs(u, v, zeros, zeros, validate=False), penalty=penalty, margin=0.0)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean value by penalty and size with its interval, and the exact expectation."""
    out = summarise(rows, ["penalty", "size"])
    predicted = [EXPECTED[penalty](n) for penalty, n in zip(out.penalty, out["size"], strict=True)]
    return out.assign(predicted=predicted)


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
                f"{name}: mean minus exact expectation, in standard errors",
                _standard_errors(penalty, of_penalty),
                4.0,
            ),
        ]
    return out


def _standard_errors(penalty: str, rows: pd.DataFrame) -> pd.Series:
    """Mean minus exact expectation at each size, in standard errors of the mean."""
    errors = rows.groupby("size").error
    return (errors.mean() - [EXPECTED[penalty](n) for n in errors.mean().index]) / errors.sem()
