"""Balls of CVaR and of total variation: worst cases by sorting, linear at first, and where DPO collapses.

The claim (ours and textbook; beside the chi-square balls of arXiv 2509.19104). Over dQ/dP <= 1/level the
worst law keeps the worst share of the pairs, over sum |Q - P|/2 <= rho it moves the share rho of least loss
to the largest loss (`distalign.solvers.robust.share_balls`), so the second loss is a mixture of the first and
of the largest. Up to the mass of the pairs of least loss both rise linearly with what they take. Robust DPO
is theta = 0 from the point on at which the ball holds a law of mean feature 0.

The run. The random log-linear Bradley-Terry instances of `chi2_ball`, with DPO's losses at the true parameter
under the exact law of comparisons; balls at given shares of the edge, and fits on either side of the
collapse.

The roads. The sorting solver; linear programs in Q (HiGHS) and cvxpy's fits, as oracles; the dual of CVaR at
all its kinks; the linear forms of theory.

The checks: identities to rounding, to 1e-8 for linear programs and 1e-6 for fits; from five times the edge
on the forms are too large by a thousandth of the rise at least; a ball of 0.9 of what collapses has an
optimum 2e-6 below log 2 at least. The last two, which theory bounds by 0 only, were set after a look: a
hundredth and 1e-5 had held at three root seeds, but 25 more draws had a least share of 0.0101.

The planted defects: the solver's level 5 % too small, or its radius 5 % too large; the edge 5 % too large;
the mean in place of the least loss in the form of total variation; the radius of the fits 10 % too small; and
the collapse radius without its factor 1/2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.oracles import ambiguity
from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.studies.robust.chi2_ball import BETA, DIMENSION, NORM, PROMPTS, RESPONSES, _atoms
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.robust.share_balls import (
    cvar_collapse_level,
    cvar_worst_case,
    total_variation_collapse_radius,
    total_variation_worst_case,
)
from distalign.theory.robust import shares as theory

BEYOND, SIDES = 5.0, (0.9, 1.05)
VALUE, FIT = where(part="value"), where(part="fit")


def _with_mean(right: Any) -> Any:
    """The form of a developer who takes the mass from everywhere."""
    return lambda losses, p, radius: float(p @ losses + radius * (losses.max() - p @ losses))


DEFECTS = (
    Defect("the level of CVaR 5 % too small", cvar_worst_case, argument("level", lambda a: 0.95 * a), VALUE),
    Defect(
        "the radius of total variation 5 % too large",
        total_variation_worst_case,
        argument("radius", lambda r: 1.05 * r),
        VALUE,
    ),
    Defect("the edge 5 % too large", theory.least_mass, result(lambda x: 1.05 * x), VALUE),
    Defect("the mean in place of the least loss", theory.total_variation_form, _with_mean, VALUE),
    Defect(
        "the radius of the fits 10 % too small",
        ambiguity.total_variation_ball_fit,
        argument("radius", lambda r: 0.9 * r),
        FIT,
    ),
    Defect(
        "the collapse radius without its factor 1/2",
        total_variation_collapse_radius,
        result(lambda r: min(2 * r, 0.9)),
        FIT,
    ),
)


def cells(shares: list[float], instances: int, fits: int) -> list[dict[str, Any]]:
    """One cell per share of the edge, and one per side of the collapse."""
    return [
        *({"part": "value", "share": s, "instances": instances} for s in shares),
        *({"part": "fit", "share": s, "instances": fits} for s in SIDES),
    ]


def run(rng: np.random.Generator, *, part: str, share: float, instances: int) -> dict[str, Any]:
    """Deviations of the roads on each random instance."""
    one = _value if part == "value" else _fit
    rows = [
        one(log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA), share)
        for _ in range(instances)
    ]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _value(instance: LogLinearBradleyTerry, share: float) -> dict[str, Any]:
    """Both robust losses at the true parameter, by all roads."""
    v, p = _atoms(instance)
    losses = np.logaddexp(0, -BETA * v @ instance.theta_star)
    edge = theory.least_mass(losses, p)
    taken = share * edge if share <= 1 else 1 - (1 - edge) / share  # stays below 1
    level, mean = 1 - taken, p @ losses
    tail, moved = cvar_worst_case(losses, p, level), total_variation_worst_case(losses, p, taken)
    distance = min(taken, 1 - p[losses == losses.max()].sum())
    return {
        "taken": taken,
        "cvar": tail.value - mean,
        "cvar_form": theory.cvar_form(losses, p, level) - mean,
        "cvar_program": tail.value - ambiguity.cvar_value(losses, p, level),
        "cvar_dual": tail.value - min(x + p @ np.maximum(losses - x, 0) / level for x in losses),
        "cvar_ratio": (tail.weights / p).max() * max(level, p[losses.argmax()]) - 1,
        "tv": moved.value - mean,
        "tv_form": theory.total_variation_form(losses, p, taken) - mean,
        "tv_program": moved.value - ambiguity.total_variation_ball_value(losses, p, taken),
        "tv_mixture": moved.value - taken * losses.max() - (1 - taken) * tail.value,
        "tv_distance": np.abs(moved.weights - p).sum() / 2 - distance,
    }


def _fit(instance: LogLinearBradleyTerry, share: float) -> dict[str, Any]:
    """How far the robust optima of cvxpy lie below log 2, at a share of what collapses."""
    v, p = _atoms(instance)
    level = 1 - share * (1 - cvar_collapse_level(v, p))
    radius = share * total_variation_collapse_radius(v, p)
    return {
        "cvar_gain": np.log(2) - ambiguity.cvar_fit(v, p, beta=BETA, level=level)[1],
        "tv_gain": np.log(2) - ambiguity.total_variation_ball_fit(v, p, beta=BETA, radius=radius)[1],
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviations by part and share, and the mean rise of either loss in units of its form."""
    measured = ["cvar_program", "cvar_dual", "cvar_ratio", "tv_program", "tv_mixture", "tv_distance"]
    rows = rows.assign(cvar_rise=rows.cvar / rows.cvar_form, tv_rise=rows.tv / rows.tv_form)
    sizes = rows.assign(**{name: rows[name].abs() for name in measured})
    return sizes.groupby(["part", "share"], as_index=False, sort=True).agg(
        **{f"largest_{name}": (name, "max") for name in measured},
        cvar_rise=("cvar_rise", "mean"),
        cvar_low=("cvar_rise", "min"),
        cvar_high=("cvar_rise", "max"),
        tv_rise=("tv_rise", "mean"),
        tv_low=("tv_rise", "min"),
        tv_high=("tv_rise", "max"),
        cvar_gain=("cvar_gain", "mean"),
        tv_gain=("tv_gain", "mean"),
        instances=("instance", "size"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The roads agree, the forms hold up to the edge and no further, and the collapse is where it is said."""
    values, fits = rows[rows.part == "value"], rows[rows.part == "fit"]
    inside, beyond = values[values.share <= 1], values[values.share >= BEYOND]
    before, after = fits[fits.share < 1], fits[fits.share > 1]
    short = np.array([1 - beyond.cvar / beyond.cvar_form, 1 - beyond.tv / beyond.tv_form])
    return [
        identity("CVaR by sorting = linear program", values.cvar_program, 1e-8),
        identity("CVaR by sorting = its dual at the best kink", values.cvar_dual, 1e-12),
        identity(
            "CVaR: largest density ratio of the worst law = 1 / level, or 1 / P(max l)",
            values.cvar_ratio,
            1e-12,
        ),
        identity("total variation by sorting = linear program", values.tv_program, 1e-8),
        identity("total variation = rho max + (1 - rho) CVaR", values.tv_mixture, 1e-12),
        identity("total variation of the worst law = radius, or 1 - P(max l)", values.tv_distance, 1e-12),
        identity(
            "up to the edge both rise linearly",
            [inside.cvar - inside.cvar_form, inside.tv - inside.tv_form],
            1e-12,
        ),
        differs(
            "from five times the edge on: least share by which the forms are too large",
            [max(short.min(), 0.0)],
            0.001,
        ),
        identity("beyond the collapse the optimum is log 2", [after.cvar_gain, after.tv_gain], 1e-6),
        differs(
            "before the collapse: least distance below log 2",
            [np.minimum(before.cvar_gain, before.tv_gain).min()],
            2e-6,
        ),
    ]
