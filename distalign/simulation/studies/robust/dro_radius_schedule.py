"""Radii that shrink with n: which make the distance to theta* fall like n^{-1/4}, which cover the truth, and
at what price.

One log-linear Bradley-Terry instance. A ball pulls the fit from DPO's solution theta* by a drift that depends
on its geometry: of order rho^{1/2} for KL, rho for Wasserstein of order 2 on R^d and of order 1 on the finite
    space, rho^2 for order 2 on the
finite space (`distalign.theory.robust.schedules`). So a true n^{-1/4} appears where that drift is made to
fall like n^{-1/4}. It is a bias that the schedule puts in, not the guarantee n^{-1/4} of the theorems, which
is about a fixed radius and the
distance to the robust optimum: to the robust optimum of the same radius the same fits converge like n^{-1/2}.

Beside it the share of draws whose ball holds the true law, against its limit: chi-squared for KL; for
Wasserstein the cost of transporting the positive to the negative part of the Gaussian limit of n^{1/2} (P_n -
P) over chains of atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import shortest_path

from distalign.oracles.wasserstein import wasserstein_distance
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.robust.wdpo_rate import BETA, PROMPTS, RESPONSES, problem
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.robust import kl_fit, wasserstein_euclidean, wasserstein_replicates
from distalign.theory.robust import kldpo as robust
from distalign.theory.robust import schedules as robust_schedules

DEFECT = "the radius does not shrink: every sample gets that of 1000 comparisons"
TAIL, LATEST, COVERED, LIMIT_DRAWS, FROZEN = 1e8, 1e10, 1e6, 1000, 1000
POWERS = {"KL": 0.5, "W2 on R^d": 1.0, "W1 finite": 1.0, "W2 finite": 2.0}  # of the radius in the drift
COVERING = robust_schedules.covering_radius(1, PROMPTS * RESPONSES * (RESPONSES - 1))


@dataclass(frozen=True)
class Schedule:
    """The radius scale n^power of a ball."""

    ball: str
    scale: float
    power: float

    @property
    def exponent(self) -> float:
        """Of the distance to theta*: of the drift, but no faster than the noise."""
        return max(self.power * POWERS[self.ball], robust.PARAMETRIC_EXPONENT)

    def radius(self, n: float) -> float:
        """In nats for KL, in units of the features otherwise."""
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


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per schedule and sample size."""
    return [
        {"schedule": schedule, "size": n, "replicates": replicates} for n in sizes for schedule in SCHEDULES
    ]


@cache
def costs() -> dict[str, np.ndarray]:
    """(m, m) cost of transport of each Wasserstein ball."""
    _, v, _, metric = problem()
    return {"W2 on R^d": ((v[:, None] - v) ** 2).sum(2), "W1 finite": metric, "W2 finite": metric**2}


def fit(ball: str, laws: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters (R, d), and which fits have collapsed and which are solved."""
    _, v, _, _ = problem()
    if ball == "KL":
        found = kl_fit.fit_kl_ball(v, laws, radius=radius, beta=BETA)
    elif ball == "W2 on R^d":
        found = wasserstein_euclidean.fit_euclidean(v, laws, radius=radius, beta=BETA)
    else:
        found = wasserstein_replicates.fit_replicates(
            v, laws, costs()[ball], radius=radius, order=_order(ball), beta=BETA
        )
    return found.theta, found.collapsed, found.solved


@cache
def drift(ball: str) -> np.ndarray:
    """(d,) first-order drift of the population fit, per radius**POWERS[ball]."""
    instance, v, p, _ = problem()
    if ball == "KL":
        return robust_schedules.kl_drift(v, p, instance.theta_star, BETA)
    if ball == "W2 on R^d":
        return robust_schedules.euclidean_drift(v, p, instance.theta_star, BETA)
    return robust_schedules.transport_drift(v, p, costs()[ball], instance.theta_star, BETA)[0]


def law(schedule: Schedule, n: float, replicates: int) -> tuple[float, float]:
    """Predicted root-mean-square distance to theta*, and the standard error of a mean over replicates
    relative to it.
    """
    instance, v, p, _ = problem()
    noise = robust.temperature_covariance(v, p, instance.theta_star, np.inf, BETA) / n
    bias = drift(schedule.ball) * schedule.radius(n) ** POWERS[schedule.ball]
    square = float(bias @ bias + np.trace(noise))
    spread = 4 * bias @ noise @ bias + 2 * np.trace(noise @ noise)
    return float(np.sqrt(square)), float(np.sqrt(spread / replicates) / (2 * square))


def distances(ball: str, laws: np.ndarray) -> np.ndarray:
    """(R,) W_q(P, P_n) by the ball's own transport (POT's network simplex)."""
    p = problem()[2]
    return np.array([wasserstein_distance(p, q, costs()[ball], order=_order(ball)) for q in laws])


def _order(ball: str) -> int:
    return 1 if ball == "W1 finite" else 2


@cache
def transport_limit_draws(ball: str) -> np.ndarray:
    """(LIMIT_DRAWS,) draws of the limit of n^{1/2} W_q(P, P_n)^q; moves of order n^{-1/2} may pass through
    other atoms.
    """
    p = problem()[2]
    chains = shortest_path(costs()[ball], method="FW")
    normal = np.random.default_rng(0).normal(size=(LIMIT_DRAWS, len(p))) * np.sqrt(p)
    gaussian = normal - p * normal.sum(1, keepdims=True)
    up, down = np.maximum(gaussian, 0), np.maximum(-gaussian, 0)
    return np.array([a.sum() * wasserstein_distance(a, b, chains) for a, b in zip(up, down, strict=True)])


def coverage_limit(schedule: Schedule, n: float) -> float:
    """Predicted probability that the ball of radius rho_n around P_n holds P."""
    radius = schedule.radius(n)
    if schedule.ball == "KL":
        return robust_schedules.kl_coverage(n, radius, len(problem()[2]))
    return float(
        np.mean(transport_limit_draws(schedule.ball) <= np.sqrt(n) * radius ** _order(schedule.ball))
    )


def run(
    rng: np.random.Generator, *, schedule: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Distances to theta* and to the robust optimum of the same radius, and whether the ball holds the
    truth.
    """
    asked, (instance, _, p, _) = SCHEDULES[schedule], problem()
    radius = asked.radius(FROZEN if defect else size)
    laws = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    theta, collapsed, solved = fit(asked.ball, laws, radius)
    theta = np.where((solved & ~collapsed)[:, None], theta, np.nan)
    if asked.ball == "KL":
        seen = np.where(laws > 0, laws, 1)
        covered = (laws > 0).all(1) & ((p * np.log(p / seen)).sum(1) <= radius)
    else:
        covered = distances(asked.ball, laws) <= radius
    return {
        "replicate": np.arange(replicates),
        "error": np.linalg.norm(theta - instance.theta_star, axis=1),
        "to_robust": np.linalg.norm(theta - fit(asked.ball, p, radius)[0][0], axis=1),
        "radius": radius,
        "covered": covered,
        "collapsed": collapsed,
        "failed": ~solved,
        "predicted": law(asked, size, replicates)[0],
        "predicted_coverage": coverage_limit(asked, size),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Both distances and the coverage by schedule and size beside their predictions, slopes of the tail, and
    counts.
    """
    by = ["schedule", "size"]
    out = summarise(rows.assign(squared=rows.error**2), by, "squared").rename(columns={"mean": "rms"})
    out[["rms", "low", "high"]] **= 0.5
    found = (
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
    found["to_robust"] **= 0.5
    out = out.merge(found, on=by)
    for schedule, mine in out.groupby("schedule"):
        out.loc[mine.index[1:], "local"] = np.diff(np.log(mine.rms)) / np.diff(np.log(mine["size"]))
        tail = _tail(rows, str(schedule))
        s = log_slope(tail["size"].to_numpy(float), tail.error.to_numpy(float), aggregate="rms")
        out.loc[mine.index, ["slope", "slope_low", "slope_high"]] = s.estimate, s.low, s.high
        out.loc[mine.index, "exponent"] = SCHEDULES[str(schedule)].exponent
    return out


def _tail(rows: pd.DataFrame, schedule: str, least: float = TAIL) -> pd.DataFrame:
    return rows.loc[(rows.schedule == schedule) & (rows["size"] >= least)]


def checks(rows: pd.DataFrame) -> list[Check]:
    """Law and exponent of every schedule, what the slow ones converge to at the parametric rate, and the
    coverage.
    """
    slow = [name for name, s in SCHEDULES.items() if s.exponent > robust.PARAMETRIC_EXPONENT]
    fast = [name for name in SCHEDULES if name not in slow]
    replicates = rows.replicate.max() + 1
    out = [_law(name, _tail(rows, name, LATEST)) for name in SCHEDULES]
    for name in slow:
        tail = _tail(rows, name, LATEST)
        s = log_slope(tail["size"].to_numpy(float), tail.error.to_numpy(float), aggregate="rms")
        out.append(
            identity(
                f"{name}: slope = {SCHEDULES[name].exponent:g}", [s.estimate - SCHEDULES[name].exponent], 0.01
            )
        )
    out.append(_pooled("the other schedules: distance to theta*", rows, fast, "error"))
    out.append(
        _pooled(
            "the slow schedules: distance to the robust optimum of the same radius", rows, slow, "to_robust"
        )
    )
    late = (
        rows.loc[rows["size"] >= COVERED]
        .groupby(["schedule", "size"])
        .agg(covered=("covered", "mean"), expected=("predicted_coverage", "first"))
        .groupby("schedule")
        .mean()
    )
    spread = np.sqrt(
        late.expected * (1 - late.expected) / replicates / rows.loc[rows["size"] >= COVERED, "size"].nunique()
    )
    spread = np.hypot(spread, np.sqrt(late.expected * (1 - late.expected) / LIMIT_DRAWS))
    return [
        *out,
        identity(
            "coverage less its limit, in units of four standard errors and a half per cent",
            (late.covered - late.expected) / (4 * spread + 0.005),
            1.0,
        ),
    ]


def _law(name: str, rows: pd.DataFrame) -> Check:
    """Root-mean-square distance relative to its prediction, at the largest sizes: 3 % for the next order, and
    four errors.
    """
    found = rows.assign(squared=(rows.error / rows.predicted) ** 2).groupby("size").squared.mean()
    count = len(rows) / len(found)
    errors = np.mean([law(SCHEDULES[name], float(n), int(count))[1] for n in found.index]) / np.sqrt(
        len(found)
    )
    return growth(f"{name}: drift and noise", [np.sqrt(found.mean())], [1.0], 0.03 + 4 * float(errors))


def _pooled(name: str, rows: pd.DataFrame, schedules: list[str], column: str) -> Check:
    """Exponent of a distance in units of its own mean level, averaged over schedules replicate by
    replicate.
    """
    tail = rows.loc[rows.schedule.isin(schedules) & (rows["size"] >= TAIL)]
    tail = tail.assign(squared=tail[column] ** 2 * tail["size"])
    tail = tail.assign(squared=tail.squared / tail.groupby("schedule").squared.transform("mean"))
    pooled = tail.groupby(["size", "replicate"], as_index=False).agg(squared=("squared", "mean"))
    pooled = pooled.assign(error=np.sqrt(pooled.squared / pooled["size"]))
    return rate(name, pooled, matches=robust.PARAMETRIC_EXPONENT, margin=0.03, aggregate="rms")
