"""Radii that shrink with n: which make the distance to theta* fall like n^{-1/4}, which cover the truth,
and at what price.

The claim is ours; the n^{-1/4} of the paper's theorems is an upper bound at a fixed radius on the distance
to the robust optimum. A ball pulls the fit from DPO's population solution theta* by a drift that depends on
its geometry (`distalign.theory.robust.schedules`): of order rho^{1/2} for KL, rho for Wasserstein of order
2 on R^d and of order 1 on the finite space, and rho^2 for order 2 on the finite space. So a true n^{-1/4}
appears where the schedule makes the drift fall like n^{-1/4}. It is a bias that the schedule puts in: the
same fits approach the robust optimum of their radius like n^{-1/2}.

The run. One log-linear Bradley-Terry instance (that of `wdpo_rate`) and eleven schedules rho = scale
n^power. Each replicate is fitted, and its distances to theta* and to the robust optimum of the same radius
are recorded, with whether the ball around the sample holds the true law.

The two roads. The solvers give the distances; theory predicts the root-mean-square distance to theta* from
drift and noise. The measured mean square has that of drift plus the mean influence of the draws as a control
variate: it is subtracted in every sample, and its known mean added. The robust optimum of the population is
theory's for KL and on R^d, and that of constraint generation on the finite space. The coverage is counted by
KL and by POT's network simplex; its limit is chi-squared for KL and, for Wasserstein, the cost of
transporting the positive to the negative part of the Gaussian limit of n^{1/2} (P_n - P) over chains of
atoms.

The checks:

- growth: the distance to theta* is that of drift and noise at the largest sizes, n >= 1e10, for every
  schedule, up to 2 %;
- identity: the slope of every schedule slower than n^{-1/2} is the predicted exponent;
- rates: the other schedules fall like n^{-1/2} to theta*, and the slow ones like n^{-1/2} to the robust
  optimum of the same radius, from n = 1e8 on;
- identity: the coverage is its limit, from n = 1e6 on.

The planted defects: the radius of KL balls 10 % too large; a millionth added to the radius of KL balls and a
ten-thousandth to that of the others, as one does to be safe from a radius of 0; the drift of finite balls of
order 2 10 % too large; and the root left out of the distance of order 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import shortest_path

from distalign.oracles.wasserstein import wasserstein_distance
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.robust.wdpo_rate import BETA, PROMPTS, RESPONSES, fixed_instance
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.robust.kl_fit import fit_kl_ball
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_replicates import fit_replicates
from distalign.theory.robust import kldpo as robust
from distalign.theory.robust import schedules as robust_schedules
from distalign.theory.robust.rates import euclidean_optimum, losses_at

# Sizes from which on slopes, laws and coverage are checked; tolerance of the laws.
TAIL, LATEST, COVERED, LAW = 1e8, 1e10, 1e6, 0.02
POWERS = {"KL": 0.5, "W2 on R^d": 1.0, "W1 finite": 1.0, "W2 finite": 2.0}  # of the radius in the drift
# n times the KL radius that holds the truth in 95 % of draws
COVERING = robust_schedules.covering_radius(1, PROMPTS * RESPONSES * (RESPONSES - 1))


@dataclass(frozen=True)
class Schedule:
    """A rule for the radius of one kind of ball: scale times n^power."""

    ball: str
    scale: float
    power: float

    @property
    def exponent(self) -> float:
        """Exponent of the distance to theta*: that of the drift, but no faster than the noise."""
        return max(self.power * POWERS[self.ball], robust.PARAMETRIC_EXPONENT)

    def radius(self, n: float) -> float:
        """The radius at sample size n: in nats for KL, in units of the features otherwise."""
        return self.scale * n**self.power


SCHEDULES = {
    f"{s.ball}, {s.scale:.3g} n^{s.power:g}": s
    for s in (
        Schedule("KL", 1.0, -0.5),
        Schedule("KL", COVERING, -1.0),
        Schedule("KL", 3.0, -1.0),
        Schedule("W2 on R^d", 1.34, -0.25),
        Schedule("W2 on R^d", 0.5, -0.25),
        Schedule("W2 on R^d", 1.0, -0.5),
        Schedule("W1 finite", 0.2, -0.25),
        Schedule("W1 finite", 2.5, -0.5),
        Schedule("W1 finite", 0.5, -0.5),
        Schedule("W2 finite", 1.7, -0.25),
        Schedule("W2 finite", 0.5, -0.25),
    )
}


def _late(*balls: str) -> Callable[[Mapping[str, Any]], bool]:
    """The choice of the cells of these balls from the sizes on at which laws are checked."""
    return lambda arguments: SCHEDULES[arguments["schedule"]].ball in balls and arguments["size"] >= LATEST


def _without_root(right: Callable[..., float]) -> Callable[..., float]:
    """A Wasserstein distance whose root of the order is left out."""
    return lambda p, q, cost, order=1.0: right(p, q, cost, order=order) ** order


DEFECTS = (
    Defect(
        "the radius of KL balls 10 % too large",
        fit_kl_ball,
        argument("radius", lambda r: 1.1 * r),
        _late("KL"),
    ),
    Defect(
        "a millionth added to the radius of KL balls",
        fit_kl_ball,
        argument("radius", lambda r: r + 1e-6),
        _late("KL"),
    ),
    Defect(
        "a ten-thousandth added to the radius on R^d",
        fit_euclidean,
        argument("radius", lambda r: r + 1e-4),
        _late("W2 on R^d"),
    ),
    Defect(
        "a ten-thousandth added to the radius on the finite space",
        fit_replicates,
        argument("radius", lambda r: r + 1e-4),
        _late("W1 finite"),
    ),
    Defect(
        "the drift on the finite space 10 % too large",
        robust_schedules.transport_drift,
        result(lambda found: (1.1 * found[0], found[1])),
        _late("W2 finite"),
    ),
    Defect(
        "the root left out of the distance of order 2",
        wasserstein_distance,
        _without_root,
        _late("W2 finite"),
    ),
)


def cells(sizes: list[int], replicates: int, limit_draws: int) -> list[dict[str, Any]]:
    """One cell per schedule and sample size."""
    return [
        {"schedule": schedule, "size": n, "replicates": replicates, "limit_draws": limit_draws}
        for n in sizes
        for schedule in SCHEDULES
    ]


@cache
def costs() -> dict[str, np.ndarray]:
    """(m, m) cost of transport of each Wasserstein ball."""
    _, v, _, metric = fixed_instance()
    return {"W2 on R^d": ((v[:, None] - v) ** 2).sum(2), "W1 finite": metric, "W2 finite": metric**2}


def fit_laws_in_ball(ball: str, laws: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters (R, d) of the robust fits of laws (R, m), and which fits have collapsed and which are
    solved.
    """
    _, v, _, _ = fixed_instance()
    if ball == "KL":
        robust_fits = fit_kl_ball(v, laws, radius=radius, beta=BETA)
    elif ball == "W2 on R^d":
        robust_fits = fit_euclidean(v, laws, radius=radius, beta=BETA)
    else:
        robust_fits = fit_replicates(v, laws, costs()[ball], radius=radius, order=_order(ball), beta=BETA)
    return robust_fits.theta, robust_fits.collapsed, robust_fits.solved


def robust_optimum(ball: str, radius: float) -> np.ndarray:
    """(d,) the population's robust optimum, not by the solver under test."""
    instance, v, p, _ = fixed_instance()
    if ball == "KL":
        tau = robust.ball_temperature(v, p, instance.theta_star, radius, BETA)
        return robust.shrinkage_factor(tau) * instance.theta_star
    if ball == "W2 on R^d":
        return euclidean_optimum(v, p, instance.theta_star, radius=radius, beta=BETA)[0]
    return fit_finite(v, p[None], costs()[ball], radius=radius, order=_order(ball), beta=BETA).theta[0]


@cache
def influence() -> np.ndarray:
    """(m, d) first-order change of DPO's estimate by a draw of each atom."""
    instance, v, p, _ = fixed_instance()
    _, gradients, curvatures = losses_at(v, instance.theta_star, BETA)
    return -np.linalg.solve(v.T @ ((p * curvatures)[:, None] * v), gradients.T).T


@cache
def drift(ball: str) -> np.ndarray:
    """(d,) first-order drift of the population fit from theta*, per radius to the power POWERS[ball]."""
    instance, v, p, _ = fixed_instance()
    if ball == "KL":
        return robust_schedules.kl_drift(v, p, instance.theta_star, BETA)
    if ball == "W2 on R^d":
        return robust_schedules.euclidean_drift(v, p, instance.theta_star, BETA)
    return robust_schedules.transport_drift(v, p, costs()[ball], instance.theta_star, BETA)[0]


def predicted_distance(schedule: Schedule, n: float) -> float:
    """Predicted root-mean-square distance to theta*: that of |drift|^2 + tr(covariance)."""
    instance, v, p, _ = fixed_instance()
    covariance = robust.temperature_covariance(v, p, instance.theta_star, np.inf, BETA) / n
    drift_at_radius = drift(schedule.ball) * schedule.radius(n) ** POWERS[schedule.ball]
    return float(np.sqrt(drift_at_radius @ drift_at_radius + np.trace(covariance)))


def controlled(schedule: Schedule, n: float, laws: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(R,) squared distances to theta*, less those of drift plus mean influence, plus the mean of these."""
    instance, _, p, _ = fixed_instance()
    drift_at_radius = drift(schedule.ball) * schedule.radius(n) ** POWERS[schedule.ball]
    expected = drift_at_radius @ drift_at_radius + p @ (influence() ** 2).sum(1) / n
    linear = drift_at_radius + laws @ influence()
    return ((theta - instance.theta_star) ** 2).sum(1) - (linear**2).sum(1) + expected


def distances(ball: str, laws: np.ndarray) -> np.ndarray:
    """(R,) W_q(P, P_n) by the ball's own transport (POT's network simplex)."""
    p = fixed_instance()[2]
    return np.array([wasserstein_distance(p, q, costs()[ball], order=_order(ball)) for q in laws])


def _order(ball: str) -> int:
    return 1 if ball == "W1 finite" else 2


@cache
def transport_limit_draws(ball: str, count: int) -> np.ndarray:
    """(count,) draws of the limit of n^{1/2} W_q(P, P_n)^q on the finite space.

    The masses that move are of order n^{-1/2} and may pass through other atoms, so the cost of a move is
    that of the cheapest chain of atoms.
    """
    p = fixed_instance()[2]
    chain_cost = shortest_path(costs()[ball], method="FW")
    normal = np.random.default_rng(0).normal(size=(count, len(p))) * np.sqrt(p)
    gaussian = normal - p * normal.sum(1, keepdims=True)
    positive_part, negative_part = np.maximum(gaussian, 0), np.maximum(-gaussian, 0)
    return np.array(
        [
            a.sum() * wasserstein_distance(a, b, chain_cost)
            for a, b in zip(positive_part, negative_part, strict=True)
        ]
    )


def coverage_limit(schedule: Schedule, n: float, draws: int) -> float:
    """Predicted probability that the ball of radius rho_n around P_n holds P, over draws of the limit."""
    radius = schedule.radius(n)
    if schedule.ball == "KL":
        return robust_schedules.kl_coverage(n, radius, len(fixed_instance()[2]))
    return float(
        np.mean(transport_limit_draws(schedule.ball, draws) <= np.sqrt(n) * radius ** _order(schedule.ball))
    )


def run(
    rng: np.random.Generator, *, schedule: str, size: int, replicates: int, limit_draws: int
) -> dict[str, Any]:
    """Distances to theta* and to the robust optimum of the same radius, and whether the ball holds the
    truth.
    """
    rule, (instance, _, p, _) = SCHEDULES[schedule], fixed_instance()
    radius = rule.radius(size)
    laws = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    theta, collapsed, solved = fit_laws_in_ball(rule.ball, laws, radius)
    theta = np.where((solved & ~collapsed)[:, None], theta, np.nan)
    if rule.ball == "KL":
        positive_laws = np.where(laws > 0, laws, 1)
        covered = (laws > 0).all(1) & ((p * np.log(p / positive_laws)).sum(1) <= radius)
    else:
        covered = distances(rule.ball, laws) <= radius
    return {
        "replicate": np.arange(replicates),
        "error": np.linalg.norm(theta - instance.theta_star, axis=1),
        "controlled": controlled(rule, size, laws, theta),
        "to_robust": np.linalg.norm(theta - robust_optimum(rule.ball, radius), axis=1),
        "radius": radius,
        "covered": covered,
        "collapsed": collapsed,
        "failed": ~solved,
        "predicted": predicted_distance(rule, size),
        "predicted_coverage": coverage_limit(rule, size, limit_draws),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Both distances and the coverage by schedule and size beside their predictions, slopes of the tail, and
    counts.
    """
    by = ["schedule", "size"]
    out = summarise(rows.assign(squared=rows.error**2), by, "squared").rename(columns={"mean": "rms"})
    out[["rms", "low", "high"]] **= 0.5
    sums = (
        rows.assign(squared=rows.to_robust**2)
        .groupby(by, as_index=False)
        .agg(
            radius=("radius", "first"),
            to_robust=("squared", "mean"),
            predicted=("predicted", "first"),
            covered=("covered", "mean"),
            predicted_coverage=("predicted_coverage", "first"),
            collapsed=("collapsed", "sum"),
            failed=("failed", "sum"),
        )
    )
    sums["to_robust"] **= 0.5
    out = out.merge(sums, on=by)
    for schedule, of_schedule in out.groupby("schedule"):
        out.loc[of_schedule.index[1:], "local"] = np.diff(np.log(of_schedule.rms)) / np.diff(
            np.log(of_schedule["size"])
        )
        tail = _tail(rows, str(schedule))
        s = log_slope(tail["size"].to_numpy(float), tail.error.to_numpy(float), aggregate="rms")
        out.loc[of_schedule.index, ["slope", "slope_low", "slope_high"]] = s.estimate, s.low, s.high
        out.loc[of_schedule.index, "exponent"] = SCHEDULES[str(schedule)].exponent
    return out


def _tail(rows: pd.DataFrame, schedule: str, least: float = TAIL) -> pd.DataFrame:
    return rows.loc[(rows.schedule == schedule) & (rows["size"] >= least)]


def checks(rows: pd.DataFrame) -> list[Check]:
    """Law and exponent of every schedule, the rate of the slow ones to their robust optimum, and the
    coverage.
    """
    slow_schedules = [name for name, s in SCHEDULES.items() if s.exponent > robust.PARAMETRIC_EXPONENT]
    other_schedules = [name for name in SCHEDULES if name not in slow_schedules]
    replicates = rows.replicate.max() + 1
    out = [_drift_and_noise_check(name, _tail(rows, name, LATEST)) for name in SCHEDULES]
    for name in slow_schedules:
        tail = _tail(rows, name, LATEST)
        s = log_slope(tail["size"].to_numpy(float), tail.error.to_numpy(float), aggregate="rms")
        out.append(
            identity(
                f"{name}: slope = {SCHEDULES[name].exponent:g}", [s.estimate - SCHEDULES[name].exponent], 0.01
            )
        )
    out.append(_pooled_rate("the other schedules: distance to theta*", rows, other_schedules, "error"))
    out.append(
        _pooled_rate(
            "the slow schedules: distance to the robust optimum of the same radius",
            rows,
            slow_schedules,
            "to_robust",
        )
    )
    coverage = (
        rows.loc[rows["size"] >= COVERED]
        .groupby(["schedule", "size"])
        .agg(covered=("covered", "mean"), expected=("predicted_coverage", "first"))
        .groupby("schedule")
        .mean()
    )
    standard_error = np.sqrt(
        coverage.expected
        * (1 - coverage.expected)
        / replicates
        / rows.loc[rows["size"] >= COVERED, "size"].nunique()
    )
    # The limits are means over draws, which have an error of their own.
    standard_error = np.hypot(
        standard_error, np.sqrt(coverage.expected * (1 - coverage.expected) / rows.limit_draws.max())
    )
    return [
        *out,
        identity(
            "coverage less its limit, in units of four standard errors and a half per cent",
            (coverage.covered - coverage.expected) / (4 * standard_error + 0.005),
            1.0,
        ),
    ]


def _drift_and_noise_check(name: str, rows: pd.DataFrame) -> Check:
    """The root-mean-square distance is its prediction, at the largest sizes."""
    mean_squares = (rows.controlled / rows.predicted**2).groupby(rows["size"]).mean()
    return growth(f"{name}: drift and noise", [np.sqrt(mean_squares.mean())], [1.0], LAW)


def _pooled_rate(name: str, rows: pd.DataFrame, schedules: list[str], column: str) -> Check:
    """The exponent of a distance in units of its own mean level, averaged over schedules replicate by
    replicate.
    """
    tail = rows.loc[rows.schedule.isin(schedules) & (rows["size"] >= TAIL)]
    tail = tail.assign(squared=tail[column] ** 2 * tail["size"])
    tail = tail.assign(squared=tail.squared / tail.groupby("schedule").squared.transform("mean"))
    pooled = tail.groupby(["size", "replicate"], as_index=False).agg(squared=("squared", "mean"))
    pooled = pooled.assign(error=np.sqrt(pooled.squared / pooled["size"]))
    return rate(name, pooled, matches=robust.PARAMETRIC_EXPONENT, margin=0.03, aggregate="rms")
