r"""The W2-robust loss on R^d lies between two gradient regularisers; on a finite space it has no such term.

    E l + rho g <= sup <= min(E l + rho beta |theta|, E l + rho g + (rho beta |theta|)^2 / 8),  g = sqrt(E
    |grad_v l|^2)

at random parameters, instances and radii. Two facts beside it. A ball of radius rho on pairs of features
(psi_w, psi_l) is inside one of radius sqrt(2) rho on their difference; if labels may flip at a fixed price it
is not, so here they may not. And where mass may only move between separate atoms the premium at small radius
is eta rho^2, not g rho: the gradient regulariser belongs to the continuous relaxation, not to the finite
space.
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
    parts = [
        _instance(
            np.random.default_rng(EXAMPLE) if i == 0 else rng, radius, 1 if i == 0 else parameters, defect
        ).assign(instance=i)
        for i in range(instances + 1)
    ]
    return dict(pd.concat(parts, ignore_index=True))


def _instance(rng: np.random.Generator, radius: float, parameters: int, defect: bool) -> pd.DataFrame:
    instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    around = ball("W2 on R^d", instance)
    theta = (
        instance.theta_star[None]
        if parameters == 1
        else (rng.normal(size=(parameters, DIMENSION)) * rng.exponential(2, (parameters, 1)))
    )
    plain, low, high = sandwich(theta, around.v, around.p, radius, BETA)
    wide = around.value(theta, np.sqrt(2) * radius)
    exact = wide if defect else around.value(theta, radius)
    losses = np.logaddexp(0, -BETA * theta @ around.v.T)
    cost = metric(instance, flip_cost=np.inf) ** 2
    finite = wasserstein_worst_case(losses, around.p, cost, radius=radius, order=2)
    return pd.DataFrame(
        {
            "parameter": np.arange(parameters),
            "norm": np.linalg.norm(theta, axis=1),
            "plain": plain,
            "low": low - plain,
            "exact": exact - plain,
            "high": high - plain,
            "finite": finite.value - plain,
            **_steepest(losses, around.p, cost),
            "pairs": wide - plain,
        }
    )


def _steepest(losses: np.ndarray, p: np.ndarray, cost: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) the best gain of loss per squared distance between two atoms, and the budget until its source is
    empty.
    """
    gains = ((losses[:, None] - losses[:, :, None]) / np.where(cost > 0, cost, np.inf)).reshape(
        len(losses), -1
    )
    best = gains.argmax(1)
    return {"slope": gains.max(1), "lasts": p[best // len(p)] * cost.ravel()[best]}


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
    """Both sides of the sandwich, the conversion of metrics, and the quadratic start on the finite space."""
    small = rows[rows.radius**2 <= rows.lasts]
    return [
        bound("lower: E l + rho g", rows.low, rows.exact * (1 + ROUNDING) + 1e-13),
        bound("upper: Lipschitz and Taylor", rows.exact, rows.high * (1 + ROUNDING) + 1e-13),
        bound("finite space of pairs <= R^d at sqrt(2) rho", rows.finite, rows.pairs + 1e-12),
        bound("finite space: premium <= eta rho^2", rows.finite, rows.slope * rows.radius**2 + 1e-13),
        growth(
            "finite space: premium = eta rho^2 while its source lasts",
            small.finite,
            small.slope * small.radius**2,
            1e-6,
        ),
    ]
