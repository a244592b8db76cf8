"""Robust optima by every road: fast solvers, their certificates, conic programs, couplings, and POT's
distance.

The claim. Duality of the robust losses over KL and Wasserstein balls is the paper's (its lemmas); the
finite programs for the log-linear class and their certificates are ours.

The run. Random log-linear Bradley-Terry instances and the five kinds of ball, at given shares of the
collapse radius.

The two roads. On one side the fast solver of each ball gives theta, the value and a lower bound. On the
other side stand cvxpy's program for the same problem; the supremum at the solver's theta, by a linear
program over couplings (Wasserstein on the finite space), by cvxpy over the law itself (KL), by a law that
approaches it (W1 on R^d) or by a search over the price on a grid of moves (W2 on R^d, for which there is no
finite program); and the distance of the solver's worst law from the nominal one, by POT or by the KL
formula.

The checks, all identities: the value equals the lower bound; value and theta equal cvxpy's (except for W2
on R^d, which has no program); the value equals the supremum by the second road; the worst law is exactly
the radius away. A failed solve is not finite and fails the first check.

The defect gives the fast solvers a radius 5 % too large. The other roads keep the right radius, so values,
theta and distance differ from theirs; only the certificate still closes, at the wrong radius.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from distalign.oracles import ambiguity
from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust.balls import BALLS, Ball, RobustFit, ball
from distalign.simulation.verdict import Check, identity

DEFECT = "the solvers are given a radius 5 % too large"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 3, 3, 2.5, 0.8


def cells(shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball and radius, as a share of the collapse radius."""
    return [{"ball": kind, "share": share, "instances": instances} for kind in BALLS for share in shares]


def run(
    rng: np.random.Generator, *, ball: str, share: float, instances: int, defect: bool = False
) -> dict[str, Any]:
    """Deviations of the roads on each random instance."""
    rows = [_instance(rng, ball, share, defect) for _ in range(instances)]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(rng: np.random.Generator, kind: str, share: float, defect: bool) -> dict[str, Any]:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    radius = share * around.collapse_radius()
    robust_fit = around.fit(radius * (1.05 if defect else 1))
    theta, value = _conic_program(around, radius, robust_fit)
    supremum, distance = _supremum_and_distance(around, radius, robust_fit)
    return {
        "gap": robust_fit.value - robust_fit.lower,
        "program": robust_fit.value - value,
        "theta": np.abs(robust_fit.theta - theta).max(),
        "supremum": robust_fit.value - supremum,
        "distance": distance / radius - 1,
        "solved": robust_fit.solved,
    }


def _conic_program(around: Ball, radius: float, found: RobustFit) -> tuple[np.ndarray, float]:
    """cvxpy's solution and value; for W2 on R^d, which has no finite program, theta is not compared."""
    v, p, beta = around.v, around.p, around.beta
    if around.kind == "KL":
        return ambiguity.kl_ball_fit(v, p, beta=beta, radius=radius)
    if around.kind == "W1 on R^d":
        return oracle.wasserstein_norm_fit(v, p, radius=radius, beta=beta)[:2]
    if around.kind == "W2 on R^d":
        return np.full_like(found.theta, np.nan), float("nan")
    return oracle.wasserstein_finite_fit(v, p, around.cost, radius=radius, beta=beta, order=around.order)[:2]


def _supremum_and_distance(around: Ball, radius: float, found: RobustFit) -> tuple[float, float]:
    """The supremum at the solution by another method, and the distance of the solver's worst law."""
    losses = np.logaddexp(0, -around.beta * around.v @ found.theta)
    if around.kind == "KL":
        positive = found.worst > 0
        divergence = found.worst[positive] @ np.log(found.worst[positive] / around.p[positive])
        return ambiguity.kl_ball_value(losses, around.p, radius), float(divergence)
    if around.kind == "W2 on R^d":
        moved_atoms = around.v - found.worst[:, None] * found.theta / np.linalg.norm(found.theta)
        cost = ((around.v[:, None] - moved_atoms) ** 2).sum(2)
        return _on_grid(around, radius, found.theta), oracle.wasserstein_distance(
            around.p, around.p, cost, order=2
        )
    if around.kind == "W1 on R^d":
        # The supremum is attained by no law. A law that sends the mass 1e-7 of every atom radius / 1e-7 along
        # the worst direction spends the radius, and its expected loss must be the value up to rounding.
        far_mass = 1e-7
        far_losses = np.logaddexp(
            0, -around.beta * (around.v + radius / far_mass * found.worst) @ found.theta
        )
        return float(around.p @ ((1 - far_mass) * losses + far_mass * far_losses)), radius * float(
            np.linalg.norm(found.worst)
        )
    value, _ = oracle.wasserstein_ball_value(losses, around.p, around.cost, radius=radius, order=around.order)
    return value, oracle.wasserstein_distance(around.p, found.worst, around.cost, order=around.order)


def _on_grid(around: Ball, radius: float, theta: np.ndarray) -> float:
    """The dual of W2 on R^d, with every move of a grid tried for every atom.

    It is the least over eta of eta rho^2 + E max_s (loss at margin t - |beta theta| s minus eta s^2), by a
    bounded search over log eta.
    """
    margins, slope = around.beta * around.v @ theta, around.beta * np.linalg.norm(theta)
    moves = np.linspace(0, 20 * radius, 40_001)
    losses = np.logaddexp(0, slope * moves - margins[:, None])

    def dual(log_eta: float) -> float:
        eta = np.exp(log_eta)
        return float(eta * radius**2 + around.p @ (losses - eta * moves**2).max(1))

    minimum: Any = minimize_scalar(dual, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9})
    return float(minimum.fun)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each road per ball and radius."""
    measured = ["gap", "program", "theta", "supremum", "distance"]
    sizes = rows.assign(**{name: rows[name].abs() for name in measured})
    return sizes.groupby(["ball", "share"], as_index=False, sort=False).agg(
        **{f"largest_{name}": (name, "max") for name in measured},
        instances=("instance", "size"),
        unsolved=("solved", lambda s: int((~s.astype(bool)).sum())),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Certificate, program, supremum and distance agree; a failed solve is not finite and fails the first."""
    programs = rows[rows.ball != "W2 on R^d"]
    return [
        identity("value = lower bound (the certificate)", rows.gap, 1e-9),
        identity("value = cvxpy's program", programs.program, 1e-7),
        identity("theta = cvxpy's", programs.theta, 1e-4),
        identity("value = supremum by a second road", rows.supremum, 1e-6),
        identity("distance of the worst law = radius, relative", rows.distance, 1e-6),
    ]
