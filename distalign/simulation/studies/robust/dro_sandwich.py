"""The W2-robust loss on R^d lies between two gradient regularisers; on a finite space it has no such term.

The claim is ours; the paper has the regulariser as an expansion. With g = sqrt(E |grad_v l|^2),

    E l + rho g  <=  sup  <=  min(E l + rho beta |theta|,  E l + rho g + (rho beta |theta|)^2 / 8).       (1)

Two facts stand beside it. A ball of radius rho on pairs of features (psi_w, psi_l) lies inside a ball of
radius sqrt(2) rho on their difference (2); if labels may flip at a fixed price it does not, so here they
may not. And where mass may only move between separate atoms, the premium sup - E l at small radius is eta
rho^2, not g rho (3), eta being the best gain of loss per squared distance between two atoms: the gradient
regulariser belongs to the continuous relaxation, not to the finite space.

The run. Random parameters and instances, one cell per radius. Instance 0 is the example that the figure
draws, at its own theta*.

The two roads. The supremum comes from the solvers on R^d and on the finite space; the bounds are the closed
forms of `distalign.theory.robust.wasserstein.sandwich`.

The checks: both sides of (1) at every parameter; (2); on the finite space the premium is at most eta rho^2,
and equal to it as long as the atom that the cheapest move takes mass from is not empty (3). All bounds are
nearly attained: (1) at small radii, (2) by two responses of opposite features where nearly all of the mass
changes the winner at a small theta, (3) while the source lasts.

The planted defects: the radius 5 % too small on R^d, which passes below the lower side of (1) and of (2); the
radius 5 % too large on R^d, or on the finite space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument
from distalign.simulation.studies.robust.balls import ball, metric
from distalign.simulation.verdict import Check, bound, growth
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.solvers.robust.wasserstein_euclidean import robust_loss
from distalign.theory.robust.wasserstein import sandwich

DEFECTS = (
    Defect("the radius on R^d 5 % too small", robust_loss, argument("radius", lambda r: 0.95 * r)),
    Defect("the radius on R^d 5 % too large", robust_loss, argument("radius", lambda r: 1.05 * r)),
    Defect(
        "the radius on the finite space 5 % too large",
        wasserstein_worst_case,
        argument("radius", lambda r: 1.05 * r),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 0.8
ROUNDING = 1e-9
EXAMPLE = 0  # seed of the instance whose parameter is theta*: the figure's curve
SWAP, LIKELY, FLAT = -1, 0.999, 1e-3  # number, law and margin of the example in which (2) is nearly attained


def cells(radii: list[float], parameters: int, instances: int) -> list[dict[str, Any]]:
    """One cell per radius."""
    return [{"radius": radius, "parameters": parameters, "instances": instances} for radius in radii]


def run(rng: np.random.Generator, *, radius: float, parameters: int, instances: int) -> dict[str, Any]:
    """Premiums sup - E l with their bounds; instance 0 is the example, at its own theta*, and instance SWAP
    that in which (2) is nearly attained.
    """
    tables = [
        _instance(
            np.random.default_rng(EXAMPLE) if i == 0 else rng, radius, 1 if i == 0 else parameters
        ).assign(instance=i)
        for i in range(instances + 1)
    ]
    return dict(pd.concat([*tables, _swap(radius)], ignore_index=True))


def _swap(radius: float) -> pd.DataFrame:
    """The premiums of two responses with features a and -a, whose ball of pairs just reaches the law in which
    the likely winner always loses.

    Changing the winner moves the pair by 8^{1/2} a and the difference of its features by 4 a, 2^{1/2} times
    as far, and at a small margin the loss is nearly linear, so that nothing is gained by moving further.
    """
    a = radius / np.sqrt(8 * LIKELY)
    v, p, theta = np.array([[2 * a], [-2 * a]]), np.array([LIKELY, 1 - LIKELY]), np.array([[FLAT / a]])
    losses = np.logaddexp(0, -BETA * theta @ v.T)
    cost = 8 * a**2 * (1 - np.eye(2))
    finite = wasserstein_worst_case(losses, p, cost, radius=radius, order=2).value - losses @ p
    pairs = robust_loss(theta, v, p, radius=np.sqrt(2) * radius, beta=BETA) - losses @ p
    return pd.DataFrame({"instance": SWAP, "finite": finite, "pairs": pairs})


def _instance(rng: np.random.Generator, radius: float, parameters: int) -> pd.DataFrame:
    instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    around = ball("W2 on R^d", instance)
    theta = (
        instance.theta_star[None]
        if parameters == 1
        else (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)))
    )
    plain, low, high = sandwich(theta, around.v, around.p, radius, BETA)
    exact, exact_at_sqrt2_radius = (around.value(theta, x * radius) for x in (1, np.sqrt(2)))
    losses = np.logaddexp(0, -BETA * theta @ around.v.T)
    cost = metric(instance, flip_cost=np.inf) ** 2
    finite_ball = wasserstein_worst_case(losses, around.p, cost, radius=radius, order=2)
    return pd.DataFrame(
        {
            "parameter": np.arange(parameters),
            "norm": np.linalg.norm(theta, axis=1),
            "plain": plain,
            "low": low - plain,
            "exact": exact - plain,
            "high": high - plain,
            "finite": finite_ball.value - plain,
            **_cheapest_move(losses, around.p, cost),
            "pairs": exact_at_sqrt2_radius - plain,
        }
    )


def _cheapest_move(losses: np.ndarray, p: np.ndarray, cost: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) eta, the best gain of loss per squared distance between two atoms, and how long it lasts.

    It lasts until rho^2 is the cost of emptying the source atom of that move.
    """
    gain_per_cost = ((losses[:, None] - losses[:, :, None]) / np.where(cost > 0, cost, np.inf)).reshape(
        len(losses), -1
    )
    best_move = gain_per_cost.argmax(1)
    return {"slope": gain_per_cost.max(1), "lasts": p[best_move // len(p)] * cost.ravel()[best_move]}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The example's premiums per radius, and the tightest margins over all parameters relative to the
    premium.
    """
    example = rows[rows.instance == 0].set_index("radius")[["low", "exact", "high", "finite", "slope"]]
    drawn = rows[rows.instance >= 0]
    margins = drawn.assign(
        below=(drawn.exact - drawn.low) / drawn.exact, above=(drawn.high - drawn.exact) / drawn.exact
    )
    tightest = margins.groupby("radius").agg(
        cases=("exact", "size"), tightest_below=("below", "min"), tightest_above=("above", "min")
    )
    return example.join(tightest).reset_index()


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both sides of (1), the conversion of metrics (2), and the quadratic start on the finite space (3)."""
    drawn = rows[rows.instance >= 0]
    while_source_lasts = drawn[drawn.radius**2 <= drawn.lasts]
    return [
        bound("lower: E l + rho g", drawn.low, drawn.exact * (1 + ROUNDING) + 1e-13),
        bound("upper: Lipschitz and Taylor", drawn.exact, drawn.high * (1 + ROUNDING) + 1e-13),
        bound("finite space of pairs <= R^d at sqrt(2) rho", rows.finite, rows.pairs + 1e-12),
        bound("finite space: premium <= eta rho^2", drawn.finite, drawn.slope * drawn.radius**2 + 1e-13),
        growth(
            "finite space: premium = eta rho^2 while its source lasts",
            while_source_lasts.finite,
            while_source_lasts.slope * while_source_lasts.radius**2,
            1e-6,
        ),
    ]
