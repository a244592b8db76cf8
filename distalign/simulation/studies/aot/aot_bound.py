r"""The sorted value of n samples is within a bound with explicit constants of the population's value.

For a penalty with Lipschitz constant L on [-2M, 2M] and laws on [-M, M] the bound on the mean error is

    E |OT_n - OT| <= (L / sqrt n) (S_U + S_V) <= 2 L M / sqrt n,   S_X = \int sqrt(F_X (1 - F_X)),    (1)

and it follows from a bound that every single replicate obeys,

    |OT_n - OT| <= L (W_1(U_n, U) + W_1(V_n, V)).    (2)

Both are ours; the paper's Corollary 1 has the same n^{-1/2} without constants.

The value OT_n comes from `distalign.objectives.aot_unpaired`. The population cost OT is an integral over
quantile functions, and W_1 between a sample and its law is exact, so neither uses the code under test. Five
pairs of laws and five penalties are run. Two are the tightest there are: a fair coin against a point meets
the first bound of (1) at n = 1, and a coin against its mirror image, drawn together as the two responses of
a prompt are, meets the second under a penalty that is linear. No bound asks for independent classes.

The checks ask that no mean error passes either bound of (1), that no replicate passes (2), and that the
exponent is respected where the bound is nearly reached (the hinge on a fair coin against a point; where it is
beaten, `aot_null` has the exponent). A bound is marked as vacuous where it exceeds the largest error that is
possible at all.

The planted defects: a slope 10 % and a margin 0.05 too large, with which the value tends to another limit, so
that the error does not vanish with n while the bounds do; and bounds that are 1 % too small.
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
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, rate
from distalign.theory.aot.finite_samples import explicit_bound
from distalign.theory.aot.transport import GUARANTEED_EXPONENT

DEFECTS = (
    Defect(
        "the slope of the logistic penalty 10 % too large",
        aot_unpaired,
        argument("beta", lambda x: x and 1.1 * x),
    ),
    Defect(
        "the margin 0.05 too large", aot_unpaired, argument("margin", lambda x: x if x is None else x + 0.05)
    ),
    Defect("the bounds 1 % too small", explicit_bound, result(lambda x: 0.99 * x), no_cell),
)
M, BETA, TARGET = 1.0, 0.7, 0.5
KEYS = ["laws", "penalty", "size"]
# Below this size the mean deviation of n tosses of a coin is off its n^{-1/2} by more than half a per cent.
MIN_SIZE = 64
# The rounding of the midpoint rule. It is needed because a replicate often meets its own bound exactly.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Penalty:
    """A penalty of `aot_unpaired`.

    Attributes: arguments: the keyword arguments that choose it. h: the same penalty as a function of
    numpy arrays. lipschitz: its Lipschitz constant on [-2M, 2M].
    """

    arguments: dict[str, Any]
    h: Callable[[Any], Any]
    lipschitz: float


@dataclass(frozen=True)
class Bounded:
    r"""A law on [-M, M].

    Attributes: quantile: its quantile function. spread: \int sqrt(F (1 - F)), the factor that (1) gives
    the law. distance: W_1 of (R, n) ascending samples to the law.
    """

    quantile: Callable[[np.ndarray], np.ndarray]
    spread: float
    distance: Callable[[np.ndarray], np.ndarray]


def _uniform(low: float, high: float) -> Bounded:
    """The uniform law on [low, high]."""
    width = high - low

    def distance(x: np.ndarray) -> np.ndarray:
        edges = low + width * np.arange(x.shape[1] + 1) / x.shape[1]
        below, above = x - edges[:-1], x - edges[1:]
        # The i-th ascending sample is coupled to the i-th n-tile of the law; |x - q| is integrated over it.
        return ((below * np.abs(below) - above * np.abs(above)) / 2).sum(1) / width

    return Bounded(lambda t: low + width * t, width * np.pi / 8, distance)


COIN = Bounded(lambda t: np.where(t < 0.5, -M, M), M, lambda x: np.abs(x.mean(1)))
POINT = Bounded(lambda t: np.full_like(t, M), 0.0, lambda x: np.zeros(len(x)))
WIDE = _uniform(-M, M)
LAWS = {
    "equal uniform laws": (WIDE, WIDE),
    "uniform laws that cross": (_uniform(-M / 2, M / 2), WIDE),
    "two fair coins": (COIN, COIN),
    "coin against a point": (COIN, POINT),
    "coin against its mirror image": (COIN, COIN),
}
PENALTIES = {
    "logistic": Penalty({"penalty": "logistic", "beta": BETA}, lambda x: np.logaddexp(0, -BETA * x), BETA),
    "least squares": Penalty(
        {"penalty": "least_squares", "margin": TARGET}, lambda x: (TARGET - x) ** 2, 2 * (TARGET + 2 * M)
    ),
    "hinge": Penalty({"penalty": "hinge", "margin": 0.0}, lambda x: np.clip(-x, 0, None), 1.0),
    "hinge, margin 2 M": Penalty(
        {"penalty": "hinge", "margin": 2 * M}, lambda x: np.clip(2 * M - x, 0, None), 1.0
    ),
    "squared hinge": Penalty(
        {"penalty": "squared_hinge", "margin": 0.0}, lambda x: np.clip(-x, 0, None) ** 2, 4 * M
    ),
}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per pair of laws and sample size; all penalties see the same samples."""
    return [{"laws": laws, "size": n, "replicates": replicates} for laws in LAWS for n in sizes]


def run(rng: np.random.Generator, *, laws: str, size: int, replicates: int) -> dict[str, Any]:
    """Error of each replicate and penalty, with the bound (2) on it."""
    law_u, law_v = LAWS[laws]
    ranks, others = rng.random((2, replicates, size))
    u, v = law_u.quantile(ranks), law_v.quantile(1 - ranks if "mirror" in laws else others)
    distance = law_u.distance(np.sort(u, 1)) + law_v.distance(np.sort(v, 1))
    frames = []
    for name, penalty in PENALTIES.items():
        value = _sorted(u, v, penalty.arguments)
        frames.append(
            pd.DataFrame(
                {
                    "penalty": name,
                    "replicate": np.arange(replicates),
                    "error": np.abs(value - population_cost(laws, name)),
                    "replicate_bound": penalty.lipschitz * distance,
                }
            )
        )
    return dict(pd.concat(frames, ignore_index=True))


def _sorted(u: np.ndarray, v: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    """(R,) values of `aot_unpaired` on the samples of each replicate."""

    def value(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros_like(u)
        return partial(aot_unpaired, **arguments)(PreferenceLogProbs(u, v, zeros, zeros, validate=False))

    return torch.func.vmap(value)(torch.from_numpy(u), torch.from_numpy(v)).numpy()


@cache
def population_cost(laws: str, penalty: str) -> float:
    """The integral of h(Q_U - Q_V) by the midpoint rule; jumps at 1/2 lie between its nodes."""
    t = (np.arange(2**17) + 0.5) / 2**17
    law_u, law_v = LAWS[laws]
    return float(PENALTIES[penalty].h(law_u.quantile(t) - law_v.quantile(t)).mean())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by laws, penalty and size, beside both bounds."""
    return summarise(rows, KEYS).merge(_limits(rows), on=KEYS)


def _limits(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with both bounds of (1), and the largest error that is possible at all, by `KEYS`."""
    means = rows.groupby(KEYS, as_index=False).agg(mean_error=("error", "mean"))
    limits = []
    for _, r in means.iterrows():
        (law_u, law_v), penalty = LAWS[r["laws"]], PENALTIES[r["penalty"]]
        limits.append(
            {
                "bound": explicit_bound(r["size"], penalty.lipschitz, law_u.spread, law_v.spread),
                "envelope": explicit_bound(r["size"], penalty.lipschitz, M, M),
                "largest_error": np.ptp(penalty.h(np.linspace(-2 * M, 2 * M, 1001))),
            }
        )
    return means.join(pd.DataFrame(limits))


def checks(rows: pd.DataFrame) -> list[Check]:
    """All bounds in all cases, and the exponent where the bound is nearly reached."""
    means = _limits(rows)
    error, largest_possible = means.mean_error, means.largest_error
    coin = rows.loc[(rows.laws == "coin against a point") & (rows.penalty == "hinge")]
    return [
        bound(
            "mean error <= (L / sqrt n)(S_U + S_V)",
            error,
            means.bound,
            vacuous=means.bound >= largest_possible,
        ),
        bound(
            "mean error <= 2 L M / sqrt n", error, means.envelope, vacuous=means.envelope >= largest_possible
        ),
        bound("every replicate: error <= L (W_1 + W_1)", rows.error, rows.replicate_bound + ROUNDING),
        rate("hinge, coin against a point", coin, guarantee=GUARANTEED_EXPONENT, min_size=MIN_SIZE),
    ]
