"""Paired AOT on n pairs loses about 1/n, less than guaranteed; a bound with constants; where n^{-1/2} holds.

The guarantee is the paper's Theorem 3 (excess violation of order n^{-1/2}). That the excess falls like 1/n
where the minimum is isolated and curved, all constants, and the bound with explicit constants are ours
(`distalign.theory.aot.paired`). The unpaired problem is `aot_excess`.

The policies are log-linear with two parameters, over the 60 pairs of the toy's fixed population. A data
set is n pairs, given as counts, on which the weighted sorted objective is exact at any n. With C the
population cost, C_n the sample's and theta_n its minimiser (the lowest of several certified Newton runs),
the study measures the excess C(theta_n) - C(theta*) and the error C_n(theta*) - C(theta*).

What is peculiar to pairs: one draw moves both lists. Two arms of least squares are trained on the same
samples. "pairs" sorts the policy's margins against the sample's reference margins, as the paper does.
"reference known" sorts them against the exact law of the reference's margins, which takes 4 R_n(F_c^c)
out of the bound. The excess *grows* by that in this population, by 38 %: errors of both lists cancel in
part, and the exact law on one side leaves the other's error alone. In other populations it can be the
other way round.

A second part has two policies on a ray whose costs differ by c sd / sqrt(n), sd the limiting deviation of
sqrt(n) times the difference of their sorted values. There the expected excess is c Phi(-c) sd / sqrt(n):
no uniform guarantee has a better exponent than Theorem 3's. A third part is the case nearest to the bound
that we know: reference margins 0, so that nothing is left to sort, and the policies u = +-1 on heads and
-+1 on tails of a coin with heads at 1/2 + c / (2 sqrt(n)). At c = 1.2 it reaches 14 % of the bound at
every n, and the bound is not vacuous.

Only C_n and its minimisers come from the code under test. The other road is duality: C is the value of
the optimal potentials, theta* its minimum by Nelder and Mead's method, and constants are made of the
potentials.

The checks, fixed beforehand. Every setting respects the guarantee. Mean excess and mean squared error at
theta*, over all settings at the largest sizes, are their constants, and so is the excess with two
policies, within four standard errors. The mean excess is at most the explicit bound at every size, where
policies are those of the ball ||theta|| <= 3 (a fit outside is counted as excluded). And knowing the
reference loses more.

The planted defects: `aot_paired` without its sort, which is DPO; the margin (or slope) of each penalty 10
% off; and a covariance of theory that takes both lists as independent draws, as those of `aot_excess`
are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq, minimize
from scipy.stats import binom
from torch import Tensor
from torch.func import grad, jacrev

from distalign.objectives import aot_paired, aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, where
from distalign.simulation.multistart import lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.studies.aot.aot_excess import PENALTIES, QUANTITIES, STEP
from distalign.simulation.studies.aot.mistakes import pair_by_pair
from distalign.simulation.verdict import Check, bound, growth, rate, separation
from distalign.theory.aot.dual import potentials
from distalign.theory.aot.excess import excess_constant, two_policy_excess
from distalign.theory.aot.paired import class_spread, law_spread, paired_covariance, paired_excess_bound
from distalign.theory.aot.transport import GUARANTEED_EXPONENT
from distalign.types import Array


def _as_independent(right: Any) -> Any:
    """`paired_covariance` of a developer who adds the covariances of both lists."""
    return lambda policy, reference, p: (
        right(policy, np.zeros_like(reference), p) + right(np.zeros_like(policy), reference, p)
    )


DEFECTS = (
    Defect("paired AOT without its sort", aot_paired, pair_by_pair),
    Defect(
        "the margin of paired AOT 10 % too large",
        aot_paired,
        argument("margin", lambda x: x and 1.1 * x),
        where(part={"least squares", "squared hinge", "two policies"}),
    ),
    Defect(
        "the slope of paired AOT 10 % too large",
        aot_paired,
        argument("beta", lambda x: x and 1.1 * x),
        where(part="logistic"),
    ),
    Defect(
        "the margin of sorting against a known law 10 % too large",
        aot_unpaired,
        argument("margin", lambda x: x and 1.1 * x),
        where(part="least squares"),
    ),
    Defect("both lists taken as independent draws", paired_covariance, _as_independent, no_cell),
)
# From this size on cumulative frequencies keep the population's order: the nearest breakpoints of the three
# penalties are 2e-5 apart, and what they change below is that small a share of the cost.
LATE = 10**8
# Half of the minimiser and a point farther out, whose costs differ by DISTANCE standard deviations.
NEAR, FAR, DISTANCE = 0.5, 3.0, 0.75
# The same for the two policies on a coin: below 1 the bound exceeds the largest excess there is.
COIN = 1.2
OPTIONS: dict[str, dict[str, Any]] = {
    "least squares": {"penalty": "least_squares", "margin": 1.0},
    "squared hinge": {"penalty": "squared_hinge", "margin": 1.0},
    "logistic": {"penalty": "logistic", "beta": 1.0},
}
SLOPES: dict[str, Callable[[float], float]] = {
    "least squares": lambda reach: 2 * (1 + reach),
    "squared hinge": lambda reach: 2 * (1 + reach),
    "logistic": lambda reach: 1.0,
}
PAIRS, KNOWN = "pairs", "reference known"
SETTINGS = (
    ("least squares", PAIRS),
    ("least squares", KNOWN),
    ("squared hinge", PAIRS),
    ("logistic", PAIRS),
)


@dataclass(frozen=True, eq=False)
class Truth:
    """The minimiser of the population cost, and its constants.

    Attributes: theta: the minimiser. value: the population cost there. excess: the limit of n times the mean
    excess. variance: n times the variance of C_n at the minimiser. spread: (S_{U*} + 2 S_V + S_class) times
    the Lipschitz constant; without S_V where the reference is known.
    """

    theta: Tensor
    value: float
    excess: float
    variance: float
    spread: float


def cells(sizes: list[int], replicates: int, choices: int) -> list[dict[str, Any]]:
    """One cell per size for each penalty, and for the choice between two policies."""
    return [
        *({"part": h, "size": n, "replicates": replicates} for h in OPTIONS for n in sizes),
        *({"part": "two policies", "size": n, "replicates": choices} for n in sizes if n >= LATE),
        *({"part": "coin", "size": n, "replicates": choices} for n in sizes),
    ]


@cache
def tables() -> tuple[Tensor, Tensor, Tensor]:
    """Feature differences (A, 2), reference margins (A,) and weights (A,) of the population's pairs."""
    delta, margin, weights = toy.paired_tables([toy.population()])
    return delta[0], margin[0], weights[0]


def cost(theta: Tensor, frequencies: Tensor, *, penalty: str, arm: str) -> Tensor:
    """The objective where the pairs have these frequencies (A,)."""
    delta, margin, weights = tables()
    u, zero = margin + delta @ theta, torch.zeros_like(margin)
    if arm == KNOWN:
        batch = PreferenceLogProbs(u, margin, zero, zero, frequencies, weights, validate=False)
        return aot_unpaired(batch, **OPTIONS[penalty])
    return aot_paired(
        PreferenceLogProbs(u, zero, margin, zero, frequencies, validate=False), **OPTIONS[penalty]
    )


def run(rng: np.random.Generator, *, part: str, size: int, replicates: int) -> dict[str, Any]:
    """Excess and error at the optimum of each replicate and arm; NaN where no fit converged in the ball."""
    if part == "coin":
        return _coins(rng, size, replicates)
    weights = tables()[2].numpy()
    sample = torch.from_numpy(rng.multinomial(size, weights / weights.sum(), size=replicates) / size)
    if part == "two policies":
        return _choices(sample, size)
    frames = []
    for penalty, arm in SETTINGS:
        if penalty != part:
            continue
        truth, trained = optimum(penalty, arm), partial(cost, penalty=penalty, arm=arm)
        starts = torch.cat([truth.theta[None], toy.polar(np.linspace(0.3, toy.RADIUS, 6), 12)])
        fitted = lowest(trained, [sample], starts, keep=3)
        excess = np.array([population_cost(penalty, theta) for theta in fitted.theta]) - truth.value
        usable = fitted.converged & (fitted.theta.norm(dim=1) <= toy.RADIUS)
        at_optimum = (values(trained, [sample], truth.theta[None])[:, 0] - truth.value).numpy()
        frame = {"arm": arm, "replicate": np.arange(replicates), "excess": excess, "at_optimum": at_optimum}
        frames.append(pd.DataFrame(frame).where(usable.numpy()[:, None] | _labels(frame)))
    return dict(pd.concat(frames, ignore_index=True))


def _labels(frame: dict[str, Any]) -> Array:
    """(1, C) which columns say what a row is, and stay where nothing was found."""
    return np.array([[name in ("arm", "replicate") for name in frame]])


def _choices(sample: Tensor, size: int) -> dict[str, Any]:
    """Excess of the one of two policies that each sample prefers."""
    best = optimum("least squares", PAIRS).theta
    far = alternative(size)
    points = torch.outer(torch.tensor([far, NEAR], dtype=torch.float64), best)
    found = values(partial(cost, penalty="least squares", arm=PAIRS), [sample], points)
    of_far, of_near = (population_cost("least squares", theta) for theta in points)
    return {
        "arm": PAIRS,
        "replicate": np.arange(len(sample)),
        "excess": np.where(found[:, 0] < found[:, 1], of_far, of_near) - of_near,
        "far": far,
    }


def bias(size: int) -> float:
    """The chance of heads of a coin that n tosses tell from a fair one as hardly as can be."""
    return 0.5 + COIN / (2 * float(np.sqrt(size)))


def _coins(rng: np.random.Generator, size: int, replicates: int) -> dict[str, Any]:
    """Excess of the one of two policies, with margins 1 or -1 on heads, that n tosses prefer."""
    p = bias(size)
    heads = torch.from_numpy(rng.binomial(size, p, size=replicates) / size)

    def value(theta: Tensor, share: Tensor) -> Tensor:
        zeros = torch.zeros(2, dtype=torch.float64)
        batch = PreferenceLogProbs(
            torch.cat([theta, -theta]), zeros, zeros, zeros, torch.cat([share, 1 - share]), validate=False
        )
        return aot_paired(batch, penalty="hinge", margin=1.0)

    found = values(value, [heads[:, None]], torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    excess = np.where(found[:, 0] < found[:, 1], 2 * (2 * p - 1), 0.0)
    return {"arm": PAIRS, "replicate": np.arange(replicates), "excess": excess}


def _functions(penalty: str, theta: Tensor) -> tuple[Array, Array]:
    """(A,), (A,) optimal potentials of the population, on the margins of the policy and of the reference."""
    delta, margin, weights = tables()
    u, v, p = (margin + delta @ theta).numpy(), margin.numpy(), weights.numpy()
    return potentials(u, v, PENALTIES[penalty], p, p)


def population_cost(penalty: str, theta: Tensor) -> float:
    """The population cost by duality: the mean of both potentials."""
    phi, psi = _functions(penalty, theta)
    return float(tables()[2].numpy() @ (phi + psi))


def _covariance(penalty: str, theta: Tensor, arm: str) -> tuple[Array, Array]:
    """(1, 1), (2, 2) n times the covariance of the sorted value at `theta`, and of its derivative there."""
    weights, known = tables()[2].numpy(), arm == KNOWN
    ends = [
        [_functions(penalty, theta + sign * STEP * e) for sign in (1, -1)]
        for e in torch.eye(2, dtype=torch.float64)
    ]
    slopes = [np.stack([(above[s] - below[s]) / (2 * STEP) for above, below in ends], -1) for s in (0, 1)]
    level = [f[:, None] for f in _functions(penalty, theta)]
    at_value, at_slope = (
        paired_covariance(policy, np.zeros_like(reference) if known else reference, weights)
        for policy, reference in (level, slopes)
    )
    return at_value, at_slope


@cache
def _minimum(penalty: str) -> tuple[Tensor, float]:
    """The minimiser of the population cost, the same for both arms, and the cost there."""
    loss, weights = partial(cost, penalty=penalty, arm=PAIRS), tables()[2]
    start = lowest(loss, [weights[None]], toy.polar(np.linspace(0.5, toy.RADIUS, 6), 12))
    # The search by the code under test leads near the minimum; duality says where it is.
    polished = minimize(
        lambda x: population_cost(penalty, torch.from_numpy(x)),
        start.theta[0].numpy(),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000},
    )
    return torch.from_numpy(polished.x), float(polished.fun)


@cache
def optimum(penalty: str, arm: str) -> Truth:
    """The population's minimiser and the constants of an arm."""
    weights, (theta, value) = tables()[2], _minimum(penalty)
    at_value, at_slope = _covariance(penalty, theta, arm)
    curvature = jacrev(grad(partial(cost, penalty=penalty, arm=PAIRS)))(theta, weights).numpy()
    return Truth(
        theta,
        value,
        excess_constant(curvature, at_slope),
        float(at_value[0, 0]),
        _spread(penalty, arm, theta),
    )


def _spread(penalty: str, arm: str, best: Tensor) -> float:
    """sqrt(n) times the explicit bound, for policies in the ball of which `best` is the best."""
    delta, margin, weights = tables()
    p, v = weights.numpy(), margin.numpy()
    moves = toy.RADIUS * delta.norm(dim=1).numpy()
    spreads = (law_spread((margin + delta @ best).numpy(), p), 0.0 if arm == KNOWN else law_spread(v, p))
    return paired_excess_bound(1, SLOPES[penalty](moves.max()), *spreads, class_spread(np.abs(v) + moves, p))


@cache
def largest_excess(penalty: str) -> float:
    """The largest excess that a policy of the ball can have, on a grid."""
    grid = toy.polar(np.linspace(0.0, toy.RADIUS, 7), 24)
    return max(population_cost(penalty, point) for point in grid) - _minimum(penalty)[1]


@cache
def _deviation(far: float) -> float:
    """Limit of sqrt(n) sd(C_n(far) - C_n(near)), for two multiples of the least-squares minimiser."""
    best = optimum("least squares", PAIRS).theta
    pairs = zip(
        _functions("least squares", far * best), _functions("least squares", NEAR * best), strict=True
    )
    policy, reference = ((a - b)[:, None] for a, b in pairs)
    return float(paired_covariance(policy, reference, tables()[2].numpy())[0, 0]) ** 0.5


def alternative(size: int) -> float:
    """The multiple of the minimiser whose cost exceeds that of `NEAR` by DISTANCE sd / sqrt(n)."""
    best = optimum("least squares", PAIRS).theta
    near = population_cost("least squares", NEAR * best)

    def distance(t: float) -> float:
        excess = population_cost("least squares", t * best) - near
        return excess - DISTANCE * _deviation(t) * size**-0.5

    return float(brentq(distance, 1.0, FAR, xtol=1e-14))  # type: ignore[arg-type]


def with_predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the limit of the mean excess and of the mean squared error at theta*."""
    limits = [
        _limits(part, arm, size, far)
        for part, arm, size, far in zip(rows.part, rows.arm, rows["size"], rows.far.fillna(0), strict=True)
    ]
    excess, error = np.array(limits).T
    return rows.assign(
        excess_predicted=excess, squared_error=rows.at_optimum**2, squared_error_predicted=error
    )


@cache
def _limits(part: str, arm: str, size: int, far: float) -> tuple[float, float]:
    """The mean excess and the mean squared error at theta* that theory predicts; NaN where it has none."""
    if part == "coin":
        return coin_excess(size), np.nan
    if part == "two policies":
        return two_policy_excess(DISTANCE) * _deviation(far) / float(np.sqrt(size)), np.nan
    truth = optimum(part, arm)
    return truth.excess / size, truth.variance / size


def coin_excess(size: int) -> float:
    """2 (2 p - 1) P(fewer heads than tails), exact for every number of tosses."""
    p = bias(size)
    return float(2 * (2 * p - 1) * binom.cdf((size - 1) // 2, size, p))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess with its interval, prediction and explicit bound, by penalty, arm and size."""
    by, rows = ["part", "arm", "size"], with_predictions(rows)
    predicted = rows.groupby(by, as_index=False).agg(predicted=("excess_predicted", "first"))
    found = summarise(rows, by, "excess").merge(predicted, on=by)
    return found.assign(
        bound=[_bound(*key) for key in zip(found.part, found.arm, found["size"], strict=True)]
    )


def _bound(part: str, arm: str, size: int) -> float:
    """The explicit bound on the expected excess."""
    if part == "coin":
        law, ends = [bias(size), 1 - bias(size)], [1.0, -1.0]
        return paired_excess_bound(size, 1.0, law_spread(ends, law), 0.0, class_spread(np.abs(ends), law))
    if part == "two policies":
        near = NEAR * optimum("least squares", PAIRS).theta
        return _spread("least squares", arm, near) / float(np.sqrt(size))
    return optimum(part, arm).spread / float(np.sqrt(size))


def _largest_possible(part: str, size: int) -> float:
    """The largest excess of any policy of the class."""
    if part == "coin":
        return 2 * (2 * bias(size) - 1)
    return largest_excess("least squares" if part == "two policies" else part)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The guarantee in every setting, the constants, the bound, and what knowing the reference costs."""
    rows = with_predictions(rows)
    late = rows.loc[rows["size"] >= LATE]
    choices = late.loc[late.part == "two policies"]
    fits = late.loc[late.part.isin(list(OPTIONS))]
    means = summarise(rows, ["part", "arm", "size"], "excess")
    keys = list(zip(means.part, means.arm, means["size"], strict=True))
    limits = np.array([_bound(*key) for key in keys])
    largest = np.array([_largest_possible(part, size) for part, _, size in keys])
    arms = fits.loc[fits.part == "least squares"].pivot_table(
        index=["size", "replicate"], columns="arm", values="excess", dropna=False
    )
    known = (arms[KNOWN] - arms[PAIRS]) * arms.index.get_level_values("size")
    return [
        *(
            rate(
                f"{h}, {arm}: {QUANTITIES['excess']}",
                rows.loc[(rows.part == h) & (rows.arm == arm)],
                guarantee=GUARANTEED_EXPONENT,
                error="excess",
            )
            for h, arm in SETTINGS
        ),
        _constant("mean excess of the trained policy = constant / n", fits, "excess"),
        _constant("mean squared error at theta* = variance of phi + psi, / n", fits, "squared_error"),
        _constant("two policies: mean excess = c Phi(-c) sd / sqrt(n)", choices, "excess"),
        bound(
            "mean excess <= (L / sqrt n)(S_U* + 2 S_V + S_class)",
            means["mean"],
            limits,
            vacuous=limits >= largest,
        ),
        separation("n times the excess, reference known less pairs", known),
    ]


def _constant(name: str, rows: pd.DataFrame, quantity: str) -> Check:
    """The mean of a quantity divided by its prediction is 1, within four standard errors."""
    relative = rows[quantity] / rows[f"{quantity}_predicted"]
    return growth(
        name,
        [relative.mean()],  # pyright: ignore[reportArgumentType]
        1.0,
        4 * float(relative.sem()),  # pyright: ignore[reportArgumentType]
    )
