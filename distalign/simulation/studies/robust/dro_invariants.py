"""What every robust loss must satisfy, whatever the ball: order, convexity, log 2 at the reference, and its
certificate.

Random parameters of a random instance; five balls at rising radii. (I1) the robust loss is at least the plain
one, does not fall as the ball grows, and is convex; (I2) at the reference policy it is log 2, so no optimum
exceeds that; (I4) no law drawn inside the ball has a larger expected loss.
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
    critical = around.collapse_radius()
    a, b = (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)) for _ in range(2))
    plain = np.logaddexp(0, -BETA * a @ around.v.T) @ around.p

    def robust(theta: np.ndarray, radius: float) -> np.ndarray:
        value = around.value(theta, radius)
        return 2 * np.logaddexp(0, -BETA * theta @ around.v.T) @ around.p - value if defect else value

    out, last = [], np.full(parameters, -np.inf)
    for share in SHARES:
        radius = share * critical
        value, other, middle = robust(a, radius), robust(b, radius), robust((a + b) / 2, radius)
        at_reference = robust(np.zeros((1, DIMENSION)), radius)[0]
        optimum = around.fit(radius)
        out.append(
            pd.DataFrame(
                {
                    "share": share,
                    "value": value,
                    "plain": plain,
                    "smaller_ball": last,
                    "chord": (value + other) / 2,
                    "middle": middle,
                    "reference": at_reference,
                    "optimum": robust(optimum.theta[None], radius)[0],
                    "inside": _inside(rng, around, a, radius),
                }
            )
        )
        last = value
    return pd.concat(out, ignore_index=True)


def _inside(rng: np.random.Generator, around: Ball, theta: np.ndarray, radius: float) -> np.ndarray:
    """(R,) the largest expected loss over laws drawn inside the ball, by a coupling (or divergence) that
    proves it.
    """
    if around.kind.endswith("R^d"):
        return np.max([_moved(rng, around, theta, radius) for _ in range(LAWS)], 0)
    losses = np.logaddexp(0, -BETA * theta @ around.v.T)
    laws = [
        _tilted(rng, around.p, radius) if around.kind == "KL" else _coupled(rng, around, radius)
        for _ in range(LAWS)
    ]
    return (losses @ np.array(laws).T).max(1)


def _tilted(rng: np.random.Generator, p: np.ndarray, radius: float) -> np.ndarray:
    """A random law at KL = radius from p or nearer: bisection along a mixture, on which the divergence is
    convex.
    """
    target = rng.dirichlet(np.full(len(p), 0.3))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        q = (1 - middle) * p + middle * target
        low, high = (middle, high) if q @ np.log(q / p) <= radius else (low, middle)
    return (1 - low) * p + low * target


def _coupled(rng: np.random.Generator, around: Ball, radius: float) -> np.ndarray:
    """The law that a random coupling makes, mixed with staying until it costs the budget."""
    shares = rng.dirichlet(np.full(len(around.p), 0.1), len(around.p))
    spent = float(around.p @ (shares * around.cost).sum(1))
    return around.p + min(1.0, radius**around.order / spent) * (around.p @ shares - around.p)


def _moved(rng: np.random.Generator, around: Ball, theta: np.ndarray, radius: float) -> np.ndarray:
    """(R,) expected losses when every atom moves by a random vector, as far as the budget goes."""
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
    """I2 as an identity; I1 and I4 as bounds, up to relative rounding."""
    larger = rows[np.isfinite(rows.smaller_ball)]
    return [
        identity("I2: log 2 at the reference policy", rows.reference - np.log(2), 1e-12),
        bound("I2: no optimum exceeds log 2", rows.optimum, np.log(2)),
        bound("I1: at least the plain loss", rows.plain, rows.value),
        bound("I1: does not fall as the ball grows", larger.smaller_ball, larger.value),
        bound("I1: convex in theta", rows.middle, rows.chord),
        bound("I4: no law of the ball has a larger loss", rows.inside, rows.value),
    ]
