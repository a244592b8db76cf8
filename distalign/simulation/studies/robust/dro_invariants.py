"""What every robust loss must satisfy, whatever the ball: order, convexity, log 2 at the reference, its
certificate.

The claim is ours: each invariant follows from the definition of the robust loss as the supremum of the
expected loss over the ball. (I1) The robust loss is at least the plain one, does not fall as the ball
grows, and is convex in theta. (I2) At the reference policy it is log 2, so no optimum exceeds log 2. (I4)
No law inside the ball has a larger expected loss.

The run. Random parameters of random instances, for the five kinds of ball, at radii from a thousandth of
the collapse radius to one and a half times it.

The two roads. The robust loss comes from the fast solvers. Against it stand the plain loss, the loss at a
smaller radius, chords between two parameters, log 2, and the expected losses of laws drawn inside the ball:
random mixtures for KL, random couplings for Wasserstein on the finite space, random moves for R^d, each
scaled until it spends the radius, so that being inside needs no solver.

The checks: I2 at the reference as an identity; the rest as bounds at every parameter, up to rounding.

The defect subtracts the robust premium instead of adding it, so that the loss is optimistic in place of
pessimistic. It then lies below the plain loss, falls as the ball grows, and laws of the ball exceed it. The
check of log 2 at the reference cannot see it, because the premium is 0 there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust.balls import BALLS, Ball, ball
from distalign.simulation.verdict import Check, bound, identity

DEFECT = "the robust premium is subtracted instead of added: optimism in place of pessimism"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 0.8
SHARES = (1e-3, 0.03, 0.3, 0.9, 1.5)  # of the collapse radius
LAWS = 16  # drawn inside each ball


def cells(parameters: int, instances: int) -> list[dict[str, Any]]:
    """One cell per ball and block of instances."""
    return [{"ball": kind, "parameters": parameters, "instances": instances} for kind in BALLS]


def run(
    rng: np.random.Generator, *, ball: str, parameters: int, instances: int, defect: bool = False
) -> dict[str, Any]:
    """Both sides of each invariant at each parameter and radius."""
    parts = [_instance(rng, ball, parameters, defect).assign(instance=i) for i in range(instances)]
    return dict(pd.concat(parts, ignore_index=True))


def _instance(rng: np.random.Generator, kind: str, parameters: int, defect: bool) -> pd.DataFrame:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    collapse_radius = around.collapse_radius()
    a, b = (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)) for _ in range(2))
    plain = np.logaddexp(0, -BETA * a @ around.v.T) @ around.p

    def robust(theta: np.ndarray, radius: float) -> np.ndarray:
        value = around.value(theta, radius)
        return 2 * np.logaddexp(0, -BETA * theta @ around.v.T) @ around.p - value if defect else value

    tables, smaller_ball = [], np.full(parameters, -np.inf)
    for share in SHARES:
        radius = share * collapse_radius
        value, value_at_b, value_at_midpoint = (
            robust(a, radius),
            robust(b, radius),
            robust((a + b) / 2, radius),
        )
        at_reference = robust(np.zeros((1, DIMENSION)), radius)[0]
        robust_fit = around.fit(radius)
        tables.append(
            pd.DataFrame(
                {
                    "share": share,
                    "value": value,
                    "plain": plain,
                    "smaller_ball": smaller_ball,
                    "chord": (value + value_at_b) / 2,
                    "middle": value_at_midpoint,
                    "reference": at_reference,
                    "optimum": robust(robust_fit.theta[None], radius)[0],
                    "inside": _largest_drawn_loss(rng, around, a, radius),
                }
            )
        )
        smaller_ball = value
    return pd.concat(tables, ignore_index=True)


def _largest_drawn_loss(
    rng: np.random.Generator, around: Ball, theta: np.ndarray, radius: float
) -> np.ndarray:
    """(R,) the largest expected loss over `LAWS` laws drawn inside the ball.

    Each law comes with the coupling (or the divergence) that proves it is inside.
    """
    if around.kind.endswith("R^d"):
        return np.max([_losses_of_moved_atoms(rng, around, theta, radius) for _ in range(LAWS)], 0)
    losses = np.logaddexp(0, -BETA * theta @ around.v.T)
    laws = [
        _law_in_kl_ball(rng, around.p, radius)
        if around.kind == "KL"
        else _law_by_random_coupling(rng, around, radius)
        for _ in range(LAWS)
    ]
    return (losses @ np.array(laws).T).max(1)


def _law_in_kl_ball(rng: np.random.Generator, p: np.ndarray, radius: float) -> np.ndarray:
    """A random law at KL divergence `radius` from p, or nearer.

    Bisection along the mixture of p and a random law, on which the divergence is convex and so grows with
    the share.
    """
    target = rng.dirichlet(np.full(len(p), 0.3))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        q = (1 - middle) * p + middle * target
        low, high = (middle, high) if q @ np.log(q / p) <= radius else (low, middle)
    return (1 - low) * p + low * target


def _law_by_random_coupling(rng: np.random.Generator, around: Ball, radius: float) -> np.ndarray:
    """The law that a random coupling transports p to, mixed with p until its cost is within the budget."""
    coupling = rng.dirichlet(np.full(len(around.p), 0.1), len(around.p))
    cost_of_coupling = float(around.p @ (coupling * around.cost).sum(1))
    return around.p + min(1.0, radius**around.order / cost_of_coupling) * (around.p @ coupling - around.p)


def _losses_of_moved_atoms(
    rng: np.random.Generator, around: Ball, theta: np.ndarray, radius: float
) -> np.ndarray:
    """(R,) expected losses when every atom moves by a random vector, scaled until the moves spend the
    budget.
    """
    moves = rng.normal(size=around.v.shape) * rng.exponential(size=(len(around.v), 1))
    length = np.linalg.norm(moves, axis=1)
    moves *= radius / float(around.p @ length**around.order) ** (1 / around.order)
    return np.logaddexp(0, -BETA * theta @ (around.v + moves).T) @ around.p


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The tightest margin of each invariant, and the largest |L - log 2| at the reference, per ball and
    radius.
    """
    margins = rows.assign(
        premium=rows.value - rows.plain,
        growth=rows.value - rows.smaller_ball,
        sag=rows.chord - rows.middle,
        certificate=rows.value - rows.inside,
        at_reference=(rows.reference - np.log(2)).abs(),
    )
    grouped = margins.groupby(["ball", "share"], as_index=False, sort=False)
    return grouped.agg(
        cases=("value", "size"),
        least_premium=("premium", "min"),
        least_growth=("growth", "min"),
        least_sag=("sag", "min"),
        least_certificate=("certificate", "min"),
        largest_at_reference=("at_reference", "max"),
        largest_optimum=("optimum", "max"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """I2 as an identity and as a bound; I1 and I4 as bounds."""
    larger = rows[np.isfinite(rows.smaller_ball)]
    return [
        identity("I2: log 2 at the reference policy", rows.reference - np.log(2), 1e-12),
        bound("I2: no optimum exceeds log 2", rows.optimum, np.log(2)),
        bound("I1: at least the plain loss", rows.plain, rows.value),
        bound("I1: does not fall as the ball grows", larger.smaller_ball, larger.value),
        bound("I1: convex in theta", rows.middle, rows.chord),
        bound("I4: no law of the ball has a larger loss", rows.inside, rows.value),
    ]
