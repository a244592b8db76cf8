"""Chi-square DPO's loss by every road, and the radius at which it stops being mean plus standard deviation.

The claim. Over the ball E_P (dQ/dP - 1)^2 / 2 <= rho the worst case has a dual in one dimension (Duchi and
Namkoong, arXiv 1810.08750, from memory; for preferences Sahu and Wells, arXiv 2509.19104, whose abstract was
seen and whose loss regresses rewards instead). The value is E_P l + sqrt(2 rho Var_P l) as long as no atom
loses all its weight, which ends at  rho = Var_P l / (2 (E_P l - min l)^2);  the least density ratio there is
1 - sqrt(rho / edge).  These two formulas are elementary, the closed form of the objective is ours.

The run. Random log-linear Bradley-Terry instances; DPO's losses at the true parameter, under the exact law
of comparisons; radii at given shares of the edge. The robust optimum at shares of the collapse radius.

The roads. The torch objective and the numpy solver, which sort; a search over eta of the dual; cvxpy's
programs for the law itself and for the optimum; the formulas of theory.

The checks: identities to rounding, or to what cvxpy reaches, fixed beforehand. From five times the edge on
the standard-deviation form makes the rise of the loss too large by at least a thousandth; that place was set
after four instances had shown that at twice the edge it is off by as little as that.

The planted defects: the radius of the objective 5 % too large, or that of the worst law, or of the fit; the
objective keeping every pair, as if densities could be negative; the variance of the form without its factor
2; and the edge 5 % too large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar

from distalign.objectives.chi2_dpo import _least_kept, chi2_dpo
from distalign.oracles import ambiguity
from distalign.policies import LogLinear, score
from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.robust.chi2_ball import chi2_worst_case
from distalign.solvers.robust.chi2_fit import chi2_collapse_radius, fit_chi2_ball
from distalign.theory.robust.chi2 import standard_deviation_edge, standard_deviation_form

PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 3, 3, 2.5, 0.8
BEYOND = 5.0  # shares of the edge from which on the form with the standard deviation must be too large
DEFECTS = (
    Defect(
        "the radius of the objective 5 % too large",
        chi2_dpo,
        argument("radius", lambda r: 1.05 * r),
        where(part="value"),
    ),
    Defect(
        "the objective keeps every pair, as if weights could be negative",
        _least_kept,
        result(lambda gap: gap - torch.inf),
        where(part="value"),
    ),
    Defect(
        "the radius of the worst law 5 % too large",
        chi2_worst_case,
        argument("radius", lambda r: 1.05 * r),
        where(part="value"),
    ),
    Defect(
        "the radius of the fits 5 % too large",
        fit_chi2_ball,
        argument("radius", lambda r: 1.05 * r),
        where(part="fit"),
    ),
    Defect(
        "the standard-deviation form without its factor 2",
        standard_deviation_form,
        argument("radius", lambda r: r / 2),
        where(part="value"),
    ),
    Defect(
        "the edge of the form 5 % too large",
        standard_deviation_edge,
        result(lambda r: 1.05 * r),
        where(part="value"),
    ),
)


def cells(shares: list[float], fits: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per radius: shares of the edge for values, of the collapse radius for fits."""
    settings = [("value", s) for s in shares] + [("fit", s) for s in fits]
    return [{"part": part, "share": share, "instances": instances} for part, share in settings]


def run(rng: np.random.Generator, *, part: str, share: float, instances: int) -> dict[str, Any]:
    """Deviations of the roads on each random instance."""
    one = _value if part == "value" else _fit
    rows = [
        one(log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA), share)
        for _ in range(instances)
    ]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _value(instance: LogLinearBradleyTerry, share: float) -> dict[str, Any]:
    """The robust loss at the true parameter, by all roads."""
    v, p = _atoms(instance)
    losses = np.logaddexp(0, -BETA * v @ instance.theta_star)
    radius = share * standard_deviation_edge(losses, p)
    value = _objective(instance, instance.theta_star, radius)[0]
    worst = chi2_worst_case(losses, p, radius)
    ratio = worst.weights / p
    reached = worst.value >= losses.max() - 1e-12
    return {
        "value": value - p @ losses,
        "form": standard_deviation_form(losses, p, radius) - p @ losses,
        "dual": value - _by_search(losses, p, radius),
        "program": value - ambiguity.chi2_ball_value(losses, p, radius),
        "solver": value - float(worst.value),
        "distance": 0.0 if reached else 0.5 * (p @ (ratio - 1) ** 2) / radius - 1,
        "least": ratio.min() - max(0.0, 1 - np.sqrt(share)),
        "dropped": (ratio < 1e-9).mean(),
    }


def _fit(instance: LogLinearBradleyTerry, share: float) -> dict[str, Any]:
    """The robust optimum by Newton's method, by cvxpy, and the objective's gradient there."""
    v, p = _atoms(instance)
    radius = share * float(chi2_collapse_radius(v, p)[0])
    found = fit_chi2_ball(v, p[None], radius=radius, beta=BETA)
    theta, value = ambiguity.chi2_ball_fit(v, p, radius=radius, beta=BETA)
    return {
        "theta": np.abs(found.theta[0] - theta).max() if found.solved[0] else np.nan,
        "optimum": float(found.value[0]) - value,
        "gradient": _objective(instance, found.theta[0], radius)[1],
    }


def _atoms(instance: LogLinearBradleyTerry) -> tuple[np.ndarray, np.ndarray]:
    """Features of chosen less those of rejected, and the law of the comparisons."""
    law, flat = instance.population.pairs(distinct=True), instance.features.reshape(-1, DIMENSION)
    return flat[law.chosen] - flat[law.rejected], law.weights


def _objective(instance: LogLinearBradleyTerry, theta: np.ndarray, radius: float) -> tuple[float, float]:
    """The torch objective on the exact law, and the largest entry of its gradient."""
    law = instance.population.pairs(distinct=True)
    at = torch.from_numpy(theta.copy()).requires_grad_()
    policy = LogLinear(instance.features, instance.population.reference)
    chosen, rejected, weights = (torch.from_numpy(x) for x in (law.chosen, law.rejected, law.weights))
    loss = partial(chi2_dpo, beta=BETA)(score(policy, at, chosen, rejected, weights), radius=radius)
    return float(loss.detach()), float(torch.autograd.grad(loss, at)[0].abs().max())


def _by_search(losses: np.ndarray, p: np.ndarray, radius: float) -> float:
    """The least value over eta of  eta + sqrt(1 + 2 rho) sqrt(E (l - eta)_+^2),  by a bounded search."""
    mean = p @ losses
    # The root lies less than this below the mean: at most the deviation of all atoms over sqrt(2 rho).
    lowest = mean - 1.01 * np.sqrt(p @ (losses - mean) ** 2 / (2 * radius))

    def dual(eta: float) -> float:
        return float(eta + np.sqrt((1 + 2 * radius) * (p @ np.maximum(losses - eta, 0) ** 2)))

    found: Any = minimize_scalar(
        dual, bounds=(lowest, losses.max()), method="bounded", options={"xatol": 1e-9}
    )
    return min(float(found.fun), float(losses.max()))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each road by radius, and the mean rise of the loss beside its form."""
    measured = ["dual", "program", "solver", "distance", "least", "theta", "optimum", "gradient"]
    rows = rows.assign(ratio=rows.value / rows.form)
    sizes = rows.assign(**{name: rows[name].abs() for name in measured})
    return sizes.groupby(["part", "share"], as_index=False, sort=False).agg(
        **{f"largest_{name}": (name, "max") for name in measured},
        mean=("ratio", "mean"),
        low=("ratio", "min"),
        high=("ratio", "max"),
        dropped=("dropped", "mean"),
        instances=("instance", "size"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The roads agree, the form holds up to its edge and no further."""
    values, fits = rows[rows.part == "value"], rows[rows.part == "fit"]
    inside, beyond = values[values.share <= 1], values[values.share >= BEYOND]
    return [
        identity("objective = least dual value over eta, by a search", values.dual, 1e-8),
        identity("objective = cvxpy's supremum over the ball", values.program, 1e-6),
        identity("objective = solver", values.solver, 1e-10),
        identity("distance of the worst law = radius, relative", values.distance, 1e-8),
        identity(
            "up to the edge: mean + sqrt(2 radius) standard deviations", inside.value - inside.form, 1e-10
        ),
        identity("up to the edge: least density ratio = 1 - sqrt(radius / edge)", inside.least, 1e-6),
        differs(
            "from five times the edge on: least share by which that form is too large",
            [(1 - beyond.value / beyond.form).min()],
            0.001,
        ),
        identity("robust optimum = cvxpy's", fits.theta, 1e-4),
        identity("gradient of the objective at the robust optimum", fits.gradient, 1e-7),
    ]
