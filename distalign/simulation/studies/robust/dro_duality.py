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

The checks, all identities: the value equals cvxpy's, and so does theta (except for W2 on R^d, which has no
program); the value equals its lower bound; it equals the supremum by the second road; the worst law is
exactly the radius away. A failed solve has a gap and fails the check of the lower bound.

The planted defects: each solver on a finite space or on R^d has a radius 5 % too large, so that value, theta
and distance differ from those of the other roads; and the KL ball's worst law is tilted 5 % too much, so
that its certificate does not close.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from distalign.oracles import ambiguity
from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.studies.robust.balls import BALLS, Ball, RobustFit, ball
from distalign.simulation.verdict import Check, identity
from distalign.solvers.robust import kl_ball
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_norm import fit_norm

DEFECTS = (
    Defect(
        "the radius of finite Wasserstein balls 5 % too large",
        fit_finite,
        argument("radius", lambda r: 1.05 * r),
        where(ball={"W1 finite", "W2 finite"}),
    ),
    Defect(
        "the radius of W1 balls on R^d 5 % too large",
        fit_norm,
        argument("radius", lambda r: 1.05 * r),
        where(ball={"W1 on R^d"}),
    ),
    Defect(
        "the radius of W2 balls on R^d 5 % too large",
        fit_euclidean,
        argument("radius", lambda r: 1.05 * r),
        where(ball={"W2 on R^d"}),
    ),
    Defect(
        "the worst law of KL balls tilted 5 % too much",
        kl_ball._tilt,
        result(lambda t: 1.05 * t),
        where(ball={"KL"}),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 3, 3, 2.5, 0.8


def cells(shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball and radius, as a share of the collapse radius."""
    return [{"ball": kind, "share": share, "instances": instances} for kind in BALLS for share in shares]


def run(rng: np.random.Generator, *, ball: str, share: float, instances: int) -> dict[str, Any]:
    """Deviations of the roads on each random instance."""
    rows = [_instance(rng, ball, share) for _ in range(instances)]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(rng: np.random.Generator, kind: str, share: float) -> dict[str, Any]:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    radius = share * around.collapse_radius()
    robust_fit = around.fit(radius)
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
    """Program, certificate, supremum and distance agree."""
    programs = rows[rows.ball != "W2 on R^d"]
    return [
        identity("value = cvxpy's program", programs.program, 1e-6),
        identity("value = lower bound (the certificate)", rows.gap, 1e-9),
        identity("theta = cvxpy's", programs.theta, 1e-4),
        identity("value = supremum by a second road", rows.supremum, 1e-6),
        identity("distance of the worst law = radius, relative", rows.distance, 1e-6),
    ]
