"""What every robust loss must satisfy, whatever the ball: order, convexity, log 2 at the reference, its
certificate.

The claim is ours: each invariant follows from the definition of the robust loss as the supremum of the
expected loss over the ball. (I1) The robust loss is at least the plain one, does not fall as the ball
grows, and is convex in theta. (I2) At the reference policy it is log 2, so no optimum exceeds log 2. (I4)
No law inside the ball has a larger expected loss.

The run. Random parameters of random instances, for the five kinds of ball, at radii from a thousandth of
the collapse radius to one and a half times it.

The two roads. The robust loss comes from the fast solvers. Against it stand the plain loss, the loss at a
smaller radius, chords between two parameters, log 2, and the expected losses of laws that are built inside
the ball without a solver and come near the worst one: tilts of about the right size for KL, plans at the
prices of single moves for Wasserstein on the finite space, moves along -theta for R^d, each mixed or scaled
until it spends the radius.

The checks: I4 as a bound, which is attained up to rounding at the smallest radius; I2 at the reference as an
identity; the rest as bounds at every parameter, up to rounding.

The planted defects: the radius of finite Wasserstein balls 5 % too small; losses rounded to 32 bits; the
budget in the dual of order 2 not squared; the sign of the tilt turned in KL balls, which makes their loss
optimistic.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.studies.robust.balls import BALLS, Ball, ball
from distalign.simulation.verdict import Check, bound, identity
from distalign.solvers.robust import kl_ball
from distalign.solvers.robust.wasserstein_ball import WassersteinWorstCase, wasserstein_worst_case

DEFECTS = (
    Defect(
        "the radius of finite Wasserstein balls 5 % too small",
        wasserstein_worst_case,
        argument("radius", lambda r: 0.95 * r),
        where(ball={"W1 finite", "W2 finite"}),
    ),
    Defect(
        "losses of finite balls rounded to 32 bits",
        wasserstein_worst_case,
        argument("losses", np.float32),
        where(ball={"W1 finite"}),
    ),
    Defect(
        "the budget of order 2 not squared in the dual",
        wasserstein_worst_case,
        lambda right: lambda *args, **kw: _unsquared(right(*args, **kw), **kw),
        where(ball={"W2 finite"}),
    ),
    Defect("the sign of the tilt turned", kl_ball._tilt, result(lambda t: -t), where(ball={"KL"})),
)
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 0.8
SHARES = (1e-3, 0.03, 0.3, 0.9, 1.5)  # of the collapse radius
TILTS = 1.05 ** np.arange(-5, 20)  # in units of the tilt whose divergence is the radius to second order
RANKS = np.unique(np.geomspace(1, 500, 16).astype(int)) - 1  # of the gains per cost that serve as prices


def _unsquared(found: WassersteinWorstCase, *, radius: float, order: float = 1.0) -> WassersteinWorstCase:
    """A worst case whose value counts the radius at the price of the budget, radius**order."""
    return replace(found, value=found.value + found.multiplier * (radius - radius**order))


def cells(parameters: int, instances: int) -> list[dict[str, Any]]:
    """One cell per ball and block of instances."""
    return [{"ball": kind, "parameters": parameters, "instances": instances} for kind in BALLS]


def run(rng: np.random.Generator, *, ball: str, parameters: int, instances: int) -> dict[str, Any]:
    """Both sides of each invariant at each parameter and radius."""
    parts = [_instance(rng, ball, parameters).assign(instance=i) for i in range(instances)]
    return dict(pd.concat(parts, ignore_index=True))


def _instance(rng: np.random.Generator, kind: str, parameters: int) -> pd.DataFrame:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    collapse_radius = around.collapse_radius()
    a, b = (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)) for _ in range(2))
    plain = np.logaddexp(0, -BETA * a @ around.v.T) @ around.p

    tables, smaller_ball = [], np.full(parameters, -np.inf)
    for share in SHARES:
        radius = share * collapse_radius
        value, value_at_b, value_at_midpoint = (
            around.value(a, radius),
            around.value(b, radius),
            around.value((a + b) / 2, radius),
        )
        at_reference = around.value(np.zeros((1, DIMENSION)), radius)[0]
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
                    "optimum": around.value(robust_fit.theta[None], radius)[0],
                    "inside": _largest_loss_found(around, a, radius),
                }
            )
        )
        smaller_ball = value
    return pd.concat(tables, ignore_index=True)


def _largest_loss_found(around: Ball, theta: np.ndarray, radius: float) -> np.ndarray:
    """(R,) the largest expected loss of the laws built for each parameter, which lie inside the ball because
    their divergence or the cost of their transport is at most the budget.
    """
    losses = np.logaddexp(0, -BETA * theta @ around.v.T)
    if around.kind == "KL":
        return np.max([_mixed_tilt(losses, around.p, radius, x) for x in TILTS], 0)
    if around.kind.endswith("R^d"):
        return _moved_atoms(around, theta, radius)
    return _mixed_plans(losses, around.p, around.cost, radius**around.order)


def _mixed_tilt(losses: np.ndarray, p: np.ndarray, radius: float, factor: float) -> np.ndarray:
    """(R,) expected losses of laws tilted to the large losses by about as much as the ball allows, mixed with
    p until the divergence is at most the radius.

    The mixture is found by bisection: the divergence is convex along it, and so grows with the share.
    """
    centred = losses - (losses @ p)[:, None]
    tilt = factor * np.sqrt(2 * radius / (centred**2 @ p))[:, None] * centred
    q = p * np.exp(tilt - tilt.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    low, high = np.zeros(len(losses)), np.ones(len(losses))
    for _ in range(50):
        middle = (low + high) / 2
        mixed = p + middle[:, None] * (q - p)
        inside = (mixed * np.log(mixed / p)).sum(1) <= radius
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return (losses * (p + low[:, None] * (q - p))).sum(1)


def _mixed_plans(losses: np.ndarray, p: np.ndarray, cost: np.ndarray, budget: float) -> np.ndarray:
    """(R,) largest expected loss of plans that carry every atom to its best place at a price, mixed with
    staying until the cost is within the budget.

    The prices are among the gains per cost of single moves, the cheapest move included.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = np.where(cost > 0, (losses[:, None] - losses[:, :, None]) / cost, -np.inf)
    prices = (1 - 1e-9) * -np.sort(-gains.reshape(len(losses), -1), 1)[:, RANKS]
    best, plain, atoms = losses @ p, losses @ p, np.arange(len(p))
    for price in np.maximum(prices, 0).T:
        places = (losses[:, None] - price[:, None, None] * cost).argmax(2)
        spent = cost[atoms, places] @ p
        share = np.minimum(1, budget / np.maximum(spent, 1e-300))
        best = np.maximum(best, plain + share * (np.take_along_axis(losses, places, 1) @ p - plain))
    return best


def _moved_atoms(around: Ball, theta: np.ndarray, radius: float) -> np.ndarray:
    """(R,) expected losses when atoms move along -theta and spend the budget.

    At order 1 a millionth of every atom moves far. At order 2 every atom moves in proportion to the slope of
    its loss.
    """
    margins, slope = BETA * theta @ around.v.T, BETA * np.linalg.norm(theta, axis=1, keepdims=True)
    if around.order == 1:
        far = 1e-6
        moved = np.logaddexp(0, slope * radius / far - margins)
        return ((1 - far) * np.logaddexp(0, -margins) + far * moved) @ around.p
    steps = expit(-margins)
    steps *= radius / np.sqrt(steps**2 @ around.p)[:, None]
    return np.logaddexp(0, slope * steps - margins) @ around.p


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
    """I4 and I1 as bounds; I2 as an identity and as a bound."""
    larger = rows[np.isfinite(rows.smaller_ball)]
    return [
        bound("I4: no law of the ball has a larger loss", rows.inside, rows.value),
        identity("I2: log 2 at the reference policy", rows.reference - np.log(2), 1e-12),
        bound("I2: no optimum exceeds log 2", rows.optimum, np.log(2)),
        bound("I1: at least the plain loss", rows.plain, rows.value),
        bound("I1: does not fall as the ball grows", larger.smaller_ball, larger.value),
        bound("I1: convex in theta", rows.middle, rows.chord),
    ]
