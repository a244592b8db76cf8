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
and equal to it as long as the atom that the cheapest move takes mass from is not empty (3).

The defect uses the radius of the ball of pairs on their differences, so it is larger by sqrt(2). The
supremum then exceeds the upper side of (1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust.balls import ball, metric
from distalign.simulation.verdict import Check, bound, growth
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.theory.robust.wasserstein import sandwich

DEFECT = "the radius of the ball of pairs is used on their differences, times sqrt 2 once too often"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 0.8
ROUNDING = 1e-9
EXAMPLE = 0  # seed of the instance whose parameter is theta*: the figure's curve


def cells(radii: list[float], parameters: int, instances: int) -> list[dict[str, Any]]:
    """One cell per radius."""
    return [{"radius": radius, "parameters": parameters, "instances": instances} for radius in radii]


def run(
    rng: np.random.Generator, *, radius: float, parameters: int, instances: int, defect: bool = False
) -> dict[str, Any]:
    """Premiums sup - E l with their bounds; instance 0 is the example, at its own theta*."""
    tables = [
        _instance(
            np.random.default_rng(EXAMPLE) if i == 0 else rng, radius, 1 if i == 0 else parameters, defect
        ).assign(instance=i)
        for i in range(instances + 1)
    ]
    return dict(pd.concat(tables, ignore_index=True))


def _instance(rng: np.random.Generator, radius: float, parameters: int, defect: bool) -> pd.DataFrame:
    instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    around = ball("W2 on R^d", instance)
    theta = (
        instance.theta_star[None]
        if parameters == 1
        else (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)))
    )
    plain, low, high = sandwich(theta, around.v, around.p, radius, BETA)
    exact_at_sqrt2_radius = around.value(theta, np.sqrt(2) * radius)
    exact = exact_at_sqrt2_radius if defect else around.value(theta, radius)
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
    margins = rows.assign(
        below=(rows.exact - rows.low) / rows.exact, above=(rows.high - rows.exact) / rows.exact
    )
    tightest = margins.groupby("radius").agg(
        cases=("exact", "size"), tightest_below=("below", "min"), tightest_above=("above", "min")
    )
    return example.join(tightest).reset_index()


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both sides of (1), the conversion of metrics (2), and the quadratic start on the finite space (3)."""
    while_source_lasts = rows[rows.radius**2 <= rows.lasts]
    return [
        bound("lower: E l + rho g", rows.low, rows.exact * (1 + ROUNDING) + 1e-13),
        bound("upper: Lipschitz and Taylor", rows.exact, rows.high * (1 + ROUNDING) + 1e-13),
        bound("finite space of pairs <= R^d at sqrt(2) rho", rows.finite, rows.pairs + 1e-12),
        bound("finite space: premium <= eta rho^2", rows.finite, rows.slope * rows.radius**2 + 1e-13),
        growth(
            "finite space: premium = eta rho^2 while its source lasts",
            while_source_lasts.finite,
            while_source_lasts.slope * while_source_lasts.radius**2,
            1e-6,
        ),
    ]
