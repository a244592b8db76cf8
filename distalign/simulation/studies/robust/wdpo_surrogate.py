"""WDPO's gradient penalties against the worst cases they stand for: below them by order rho^2, with the
constant.

The claim is ours; the paper has the penalty as an expansion. The root form stands for the ball of radius
rho, the squared form for the worst case at the price W_2^2 / (4 rho).

The run. Log-linear Bradley-Terry populations, exact laws, balls of order 2 around the features in R^d
(`distalign.solvers.robust.wasserstein_euclidean`). Per population, form and radius:

- the gap between worst case and penalty at the exact minimiser, against its leading term
  (`distalign.theory.robust.algorithms`);
- how far the penalty's minimiser lies from the exact one, next to how far that one has moved from DPO's;
  and its excess robust loss, which is at most the gap there: the penalty is below the worst case
  everywhere, so its minimum is no higher;
- for the squared form the radius of the ball that its price implies, and the ball's own minimiser at that
  radius.

A part `finite` shows the limits of this: where mass may only move between the atoms there are, the worst
case exceeds DPO's loss by order rho^2, not rho, and no gradient enters it. Tokens are such atoms;
embeddings are the relaxation.

The two roads. The exact solver gives worst case and minimiser. The penalty's value is that of
`distalign.objectives.wdpo`; it is minimised by Newton's method with its gradient's norm written out, and the
torch objective must be stationary there by double backward.

The checks:

- growth: the gap is its leading term up to 2 % at radii up to 0.0025, for both forms, and so is the implied
  radius of the squared form;
- bounds: the penalty lies below the worst case at both minimisers; the excess robust loss is at most the
  gap;
- identities: the minimiser at a price is that of the ball it implies; the torch objective's gradient
  vanishes at the penalty's minimiser; on the atoms alone the gain over rho^2 is the same at two radii; and
  every fit is certified, collapsed balls left out.

The planted defects: the radius of the torch objective 5 % too large; the price of the exact penalised fit, or
the radius of the exact ball, 5 % too large; the root of the order left out of the budget on the finite
space; and one step of Newton's method in place of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor

from distalign.objectives import dpo, wdpo
from distalign.populations import log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.autograd_newton import autograd_newton
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.robust import wasserstein_euclidean as exact
from distalign.solvers.robust.collapse import euclidean_collapse_radius
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.theory.robust.algorithms import root_gap, squared_gap


def _part(part: str, form: str = "") -> Callable[[Mapping[str, Any]], bool]:
    """The choice of the cells of one part, and of one form if it is given."""
    return lambda arguments: arguments["part"] == part and form in ("", arguments.get("form"))


DEFECTS = (
    Defect(
        "the radius of the torch objective 5 % too large",
        wdpo,
        argument("radius", lambda r: 1.05 * r),
        _part("forms"),
    ),
    Defect(
        "the price of the penalised worst case 5 % too large",
        exact.fit_euclidean_penalised,
        argument("eta", lambda eta: 1.05 * eta),
        _part("forms", "squared"),
    ),
    Defect(
        "the radius of the exact ball 5 % too large",
        exact.fit_euclidean,
        argument("radius", lambda r: 1.05 * r),
        _part("forms"),
    ),
    Defect(
        "the budget of order 2 taken for one of order 1",
        wasserstein_worst_case,
        argument("order", lambda _: 1.0),
        _part("finite"),
    ),
    Defect(
        "one step of Newton's method",
        autograd_newton,
        argument("max_iterations", lambda _: 1),
        _part("forms"),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM = 3, 4, 3, 2.5
SMALL, TOLERANCE = 0.0025, 0.02  # radii up to which the leading term should describe the gap, and how well
FORMS = ("root", "squared")


def cells(radii: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per form and radius, and one of the finite space; the populations are the same in all."""
    return [
        *({"part": "forms", "form": f, "radius": r, "instances": instances} for f in FORMS for r in radii),
        {"part": "finite", "instances": instances},
    ]


def run(rng: np.random.Generator, *, part: str, instances: int, **arguments: Any) -> dict[str, Any]:
    """One row per population."""
    drawn = [
        log_linear_bradley_terry(np.random.default_rng(i), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0)
        for i in range(instances)
    ]
    if part == "finite":
        rows = [_gain_on_atoms(*toy.atoms(a), a.theta_star) for a in drawn]
    else:
        rows = [_penalty_and_worst_case(*toy.atoms(a), a.theta_star, **arguments) for a in drawn]
    return dict(pd.DataFrame(rows).assign(instance=np.arange(instances)))


def _penalised_loss(theta: Tensor, v: Tensor, p: Tensor, radius: Tensor, form: str) -> Tensor:
    """DPO plus the penalty, the gradient's norm sigma(-t) ||theta|| written out."""
    margins = v @ theta
    norms = torch.sigmoid(-margins) * ((theta @ theta) + 1e-16).sqrt()
    squares = (p * norms**2).sum()
    return dpo(toy.batch(margins, p), beta=1.0) + radius * (squares if form == "squared" else squares.sqrt())


def _penalty_and_worst_case(
    v: np.ndarray, p: np.ndarray, star: np.ndarray, *, form: str, radius: float
) -> dict[str, Any]:
    """Values, minimisers and predictions of one form on one population; only a flag where the ball has
    collapsed.
    """
    if form == "root" and radius >= float(euclidean_collapse_radius(v, p, order=2)[0]):
        return {"collapsed": True}
    robust = (
        exact.fit_euclidean(v, p, radius=radius)
        if form == "root"
        else exact.fit_euclidean_penalised(v, p, eta=1 / (4 * radius))
    )

    def loss(theta: Tensor, v: Tensor, p: Tensor, rho: Tensor) -> Tensor:
        return _penalised_loss(theta, v, p, rho, form)

    (penalty_minimiser,), (converged,) = toy.fits(loss, v, p[None], np.array([radius]), start=robust.theta)
    exact_minimiser, norm = robust.theta[0], float(np.linalg.norm(robust.theta[0]))
    (value, _), (value_there, gradient_there) = (
        _value_and_gradient(theta, v, p, form, radius) for theta in (exact_minimiser, penalty_minimiser)
    )
    worst_at_penalty_minimiser = _exact_worst_case(penalty_minimiser, v, p, form, radius)
    rms_gradient = np.sqrt(p @ (expit(-v @ exact_minimiser) * norm) ** 2)
    implied_radius = np.sqrt(p @ robust.worst_case[0] ** 2)
    leading = (
        root_gap(v @ exact_minimiser, p, norm)
        if form == "root"
        else squared_gap(v @ exact_minimiser, p, norm)
    )
    ball_minimiser = (
        exact.fit_euclidean(v, p, radius=implied_radius).theta[0] if form == "squared" else exact_minimiser
    )
    return {
        "collapsed": False,
        "solved": bool(robust.solved[0] and converged),
        "worst": robust.value[0],
        "worst_there": worst_at_penalty_minimiser,
        "gap": robust.value[0] - value,
        "leading": leading * radius**2,
        "moved": np.linalg.norm(exact_minimiser - star),
        "distance": np.linalg.norm(exact_minimiser - penalty_minimiser),
        "excess": worst_at_penalty_minimiser - robust.value[0],
        "gap_there": worst_at_penalty_minimiser - value_there,
        "implied": implied_radius,
        "implied_leading": 2 * radius * rms_gradient if form == "squared" else radius,
        "ball": np.linalg.norm(ball_minimiser - exact_minimiser),
        "gradient": gradient_there,
    }


def _exact_worst_case(theta: np.ndarray, v: np.ndarray, p: np.ndarray, form: str, radius: float) -> float:
    """The exact worst case at theta: over the ball for the root form, at the price for the squared form."""
    if form == "root":
        return float(exact.robust_loss(theta, v, p, radius=radius)[0])
    return float(exact.penalised_robust_loss(theta, v, p, eta=1 / (4 * radius))[0])


def _value_and_gradient(
    theta: np.ndarray, v: np.ndarray, p: np.ndarray, form: str, radius: float
) -> tuple[float, float]:
    """The value of `distalign.objectives.wdpo` at theta and the largest entry of its gradient, by double
    backward.
    """
    at, inputs = torch.from_numpy(theta.copy()).requires_grad_(), torch.from_numpy(v).requires_grad_()
    zero = torch.zeros(len(v), dtype=torch.float64)
    batch = PreferenceLogProbs(inputs @ at, zero, zero, zero, weights=torch.from_numpy(p), inputs=(inputs,))
    loss = wdpo(batch, beta=1.0, radius=radius, form=form, through="policy")
    return float(loss.detach()), float(torch.autograd.grad(loss, at)[0].abs().max())


def _gain_on_atoms(v: np.ndarray, p: np.ndarray, star: np.ndarray) -> dict[str, Any]:
    """The gain of the worst case on the atoms themselves over rho^2, at two small radii."""
    losses = toy.losses(star, v)
    cost = np.linalg.norm(v[:, None] - v[None], axis=-1)
    # At these radii so little mass moves that one atom can supply all of it.
    square = 0.5 * p.min() * cost[cost > 0].min() ** 2
    low, high = (
        float(
            np.ravel(wasserstein_worst_case(losses, p, cost**2, radius=np.sqrt(s), order=2.0).value)[0]
            - p @ losses
        )
        / s
        for s in (square / 2, square)
    )
    return {"finite_low": low, "finite_high": high}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean gap with its interval and leading term, distances and excess, per form and radius."""
    # `solved` is missing where the ball has collapsed, so only a comparison selects.
    certified = rows.loc[rows.solved == True]  # noqa: E712
    means = ["leading", "moved", "excess", "implied", "implied_leading"]
    extra = certified.groupby(["form", "radius"], as_index=False)[means].mean()
    distance = (
        summarise(certified, ["form", "radius"], "distance")
        .rename(columns={"mean": "distance", "low": "distance_low", "high": "distance_high"})
        .drop(columns=["replicates", "excluded"])
    )
    forms = rows.loc[rows.part == "forms"]
    left_out = forms.assign(
        collapsed=(forms.collapsed == True).astype(int),  # noqa: E712
        unsolved=(forms.solved == False).astype(int),  # noqa: E712
    )
    left_out = left_out.groupby(["form", "radius"], as_index=False)[["collapsed", "unsolved"]].sum()
    return summarise(certified, ["form", "radius"], "gap").merge(distance).merge(extra).merge(left_out)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Order and constant of the gap, its sign, the cost of the penalty's solution, implied radii, and
    stationarity.
    """
    forms, finite = (
        rows.loc[(rows.part == "forms") & (rows.collapsed == False)],  # noqa: E712
        rows.loc[rows.part == "finite"],
    )
    certified = forms.loc[forms.solved == True]  # noqa: E712
    small, squared = certified.loc[certified.radius <= SMALL], certified.loc[certified.form == "squared"]
    worst_cases = np.concatenate([certified.worst, certified.worst_there])
    return [
        *(
            growth(
                f"{f} form: gap = leading term, radius up to {SMALL:g}",
                small.gap[small.form == f],
                small.leading[small.form == f],
                TOLERANCE,
            )
            for f in FORMS
        ),
        bound(
            "the penalty lies below the worst case, at both minimisers",
            worst_cases - np.concatenate([certified.gap, certified.gap_there]),
            worst_cases,
            slack=0.0,
        ),
        bound(
            "excess robust loss of the penalty's minimiser is at most the gap there",
            certified.excess,
            certified.gap_there,
        ),
        growth(
            f"squared form: implied radius = 2 rho rms gradient, rho up to {SMALL:g}",
            squared.implied[squared.radius <= SMALL],
            squared.implied_leading[squared.radius <= SMALL],
            TOLERANCE,
        ),
        identity("minimiser at a price = minimiser of the ball it implies", squared.ball, 1e-6),
        identity("gradient of the torch objective at the penalty's minimiser", certified.gradient, 1e-8),
        identity(
            "atoms only: gain / rho^2 is the same at both radii, relative",
            finite.finite_high / finite.finite_low - 1,
            0.01,
        ),
        identity("fits not certified, collapsed balls left out", [len(forms) - len(certified)], 0.0),
    ]
