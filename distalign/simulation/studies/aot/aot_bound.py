r"""The sorted value of n samples is never further from the population's than a bound with explicit constants
allows.

    E |OT_n - OT| <= (L / sqrt n) (\int sqrt(F_U (1 - F_U)) + \int sqrt(F_V (1 - F_V))) <= 2 L M / sqrt n,   laws on [-M, M]

L is the Lipschitz constant of the penalty on [-2M, 2M]. In every single replicate, too, |OT_n - OT| <= L
(W_1(U_n, U) + W_1(V_n, V)), from which the first follows. Both are ours; the paper's Corollary 1 has the same
n^{-1/2} without constants. The population costs are integrals over quantiles, W_1 of a sample is exact, the
value is `distalign.objectives.aot_unpaired`. The bound is nearly reached by the hinge on a coin against a
point; equal laws under the squared hinge fall twice as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, rate
from distalign.theory.aot.finite_samples import explicit_bound
from distalign.theory.aot.transport import GUARANTEED_EXPONENT

DEFECT = "chosen and rejected paired as drawn instead of sorted (DPO's coupling)"
M, BETA, TARGET = 1.0, 0.7, 0.5
KEYS = ["laws", "penalty", "size"]
MIN_SIZE = (
    64  # below it the mean deviation of n tosses of a coin is off its n^{-1/2} by more than half a per cent
)
ROUNDING = 1e-9  # of the midpoint rule; often a replicate meets its own bound exactly


@dataclass(frozen=True)
class Penalty:
    """A penalty of `aot_unpaired` by its arguments, again as a function of numpy, and its Lipschitz constant
    on [-2M, 2M].
    """

    arguments: dict[str, Any]
    h: Callable[[Any], Any]
    lipschitz: float


@dataclass(frozen=True)
class Bounded:
    r"""A law on [-M, M]: quantile function, \int sqrt(F (1 - F)), and W_1 of (R, n) ascending samples to
    it.
    """

    quantile: Callable[[np.ndarray], np.ndarray]
    spread: float
    distance: Callable[[np.ndarray], np.ndarray]


def _uniform(low: float, high: float) -> Bounded:
    width = high - low

    def distance(x: np.ndarray) -> np.ndarray:
        edges = low + width * np.arange(x.shape[1] + 1) / x.shape[1]
        below, above = x - edges[:-1], x - edges[1:]
        return ((below * np.abs(below) - above * np.abs(above)) / 2).sum(
            1
        ) / width  # |x - q| integrated over the i-th n-tile

    return Bounded(lambda t: low + width * t, width * np.pi / 8, distance)


COIN = Bounded(lambda t: np.where(t < 0.5, -M, M), M, lambda x: np.abs(x.mean(1)))
POINT = Bounded(lambda t: np.full_like(t, M), 0.0, lambda x: np.zeros(len(x)))
WIDE = _uniform(-M, M)
LAWS = {
    "equal uniform laws": (WIDE, WIDE),
    "uniform laws that cross": (_uniform(-M / 2, M / 2), WIDE),
    "two fair coins": (COIN, COIN),
    "coin against a point": (COIN, POINT),
}
PENALTIES = {
    "logistic": Penalty({"penalty": "logistic", "beta": BETA}, lambda x: np.logaddexp(0, -BETA * x), BETA),
    "least squares": Penalty(
        {"penalty": "least_squares", "margin": TARGET}, lambda x: (TARGET - x) ** 2, 2 * (TARGET + 2 * M)
    ),
    "hinge": Penalty({"penalty": "hinge", "margin": 0.0}, lambda x: np.clip(-x, 0, None), 1.0),
    "squared hinge": Penalty(
        {"penalty": "squared_hinge", "margin": 0.0}, lambda x: np.clip(-x, 0, None) ** 2, 4 * M
    ),
}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per pair of laws and sample size; all penalties see the same samples."""
    return [{"laws": laws, "size": n, "replicates": replicates} for laws in LAWS for n in sizes]


def run(
    rng: np.random.Generator, *, laws: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Error of each replicate and penalty, with the bounds on its mean and on itself."""
    law_u, law_v = LAWS[laws]
    u, v = (law.quantile(rng.random((replicates, size))) for law in (law_u, law_v))
    distance = law_u.distance(np.sort(u, 1)) + law_v.distance(np.sort(v, 1))
    parts = []
    for name, penalty in PENALTIES.items():
        value = penalty.h(u - v).mean(1) if defect else _sorted(u, v, penalty.arguments)
        possible = penalty.h(np.linspace(-2 * M, 2 * M, 1001))
        parts.append(
            pd.DataFrame(
                {
                    "penalty": name,
                    "replicate": np.arange(replicates),
                    "error": np.abs(value - population_cost(laws, name)),
                    "replicate_bound": penalty.lipschitz * distance,
                    "largest_error": np.ptp(possible),
                    "bound": explicit_bound(size, penalty.lipschitz, law_u.spread, law_v.spread),
                    "envelope": explicit_bound(size, penalty.lipschitz, M, M),
                }
            )
        )
    return dict(pd.concat(parts, ignore_index=True))


def _sorted(u: np.ndarray, v: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    def one(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros_like(u)
        return partial(aot_unpaired, **arguments)(PreferenceLogProbs(u, v, zeros, zeros, validate=False))

    return torch.func.vmap(one)(torch.from_numpy(u), torch.from_numpy(v)).numpy()


@cache
def population_cost(laws: str, penalty: str) -> float:
    """The integral of h(Q_U - Q_V) by the midpoint rule; steps at 1/2 lie between its nodes."""
    t = (np.arange(2**17) + 0.5) / 2**17
    law_u, law_v = LAWS[laws]
    return float(PENALTIES[penalty].h(law_u.quantile(t) - law_v.quantile(t)).mean())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by laws, penalty and size, beside both bounds."""
    return summarise(rows, KEYS).merge(_limits(rows), on=KEYS)


def _limits(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(KEYS, as_index=False).agg(
        mean_error=("error", "mean"),
        bound=("bound", "first"),
        envelope=("envelope", "first"),
        largest_error=("largest_error", "first"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both bounds in all cases, and the exponent where the bound is nearly reached and where it is beaten."""
    means = _limits(rows)
    error, possible = means.mean_error, means.largest_error
    near = rows.loc[(rows.laws == "coin against a point") & (rows.penalty == "hinge")]
    null = rows.loc[(rows.laws == "equal uniform laws") & (rows.penalty == "squared hinge")]
    return [
        bound("mean error <= (L / sqrt n)(S_U + S_V)", error, means.bound, vacuous=means.bound >= possible),
        bound("mean error <= 2 L M / sqrt n", error, means.envelope, vacuous=means.envelope >= possible),
        bound("every replicate: error <= L (W_1 + W_1)", rows.error, rows.replicate_bound + ROUNDING),
        rate("hinge, coin against a point", near, guarantee=GUARANTEED_EXPONENT, min_size=MIN_SIZE),
        rate("squared hinge, equal uniform laws", null, guarantee=GUARANTEED_EXPONENT, min_size=MIN_SIZE),
    ]
