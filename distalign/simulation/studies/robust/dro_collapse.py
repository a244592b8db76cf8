"""Above a critical radius the robust optimum is the reference policy itself; just below that radius it is
not.

The claim is ours; the paper assumes its regularity for every radius it uses. The critical radius, or
collapse radius, is the distance from the law of comparisons to the nearest law under which the features v
have mean zero. For KL it is an information projection, for Wasserstein balls on the finite space a linear
program, and on R^d it is |E v| / 2 at order 1 and |E v| at order 2.

The run. Random log-linear Bradley-Terry instances and the five kinds of ball, each at given shares of its
own collapse radius. The robust optimum of each is fitted by `distalign.solvers.robust`.

The second road. The threshold is computed again on the first three instances: by the primal program over
couplings (finite Wasserstein), by cvxpy's program over laws (KL), and by bisection on the slope of the
robust loss at the reference (R^d).

The checks:

- a separation: at the largest share below 1 the robust optimum gains on the value log 2 of the reference,
  for every ball; the square root of the gain is compared, because it is in proportion to the distance from
  the threshold and less skewed than the gain;
- identities: above the threshold theta is exactly 0 and the value is log 2; below it no fit is 0;
- an identity: both roads give the same threshold.

The planted defects: the radius of each solver 1 % too large, so that its optimum collapses below the
threshold; that of the finite solver 1 % too small, so that its optimum moves above it; and the thresholds of
the finite balls 1 % too large.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd

from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust.balls import Ball, ball
from distalign.simulation.verdict import Check, identity, separation
from distalign.solvers.robust.collapse import wasserstein_collapse_radius
from distalign.solvers.robust.kl_fit import fit_kl_ball
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_norm import fit_norm

BALLS = ("W1 finite", "W2 finite", "KL", "W1 on R^d", "W2 on R^d")
DEFECTS = (
    *(
        Defect(
            f"the radius 1 % too large: {kinds[0]}",
            solver,
            argument("radius", lambda r: 1.01 * r),
            where(ball=set(kinds)),
        )
        for solver, kinds in (
            (fit_finite, ("W1 finite", "W2 finite")),
            (fit_kl_ball, ("KL",)),
            (fit_norm, ("W1 on R^d",)),
            (fit_euclidean, ("W2 on R^d",)),
        )
    ),
    Defect(
        "the radius 1 % too small: W1 finite",
        fit_finite,
        argument("radius", lambda r: 0.99 * r),
        where(ball={"W1 finite"}),
    ),
    Defect(
        "the thresholds of the finite balls 1 % too large",
        wasserstein_collapse_radius,
        result(lambda r: 1.01 * r),
        where(ball={"W1 finite"}),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 1.0
CROSSED = 3  # instances whose thresholds are computed again by the second road


def cells(shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball."""
    return [{"ball": kind, "shares": shares, "instances": instances} for kind in BALLS]


def run(rng: np.random.Generator, *, ball: str, shares: list[float], instances: int) -> dict[str, Any]:
    """Size and value of the robust optimum at each share of the threshold, on each instance."""
    tables = [_instance(rng, ball, shares, i) for i in range(instances)]
    return dict(pd.concat(tables, ignore_index=True))


def _instance(rng: np.random.Generator, kind: str, shares: list[float], number: int) -> pd.DataFrame:
    instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    around = ball(kind, instance)
    threshold = around.collapse_radius()
    fits = [around.fit(share * threshold) for share in shares]
    sizes = np.array([np.linalg.norm(f.theta) for f in fits])
    return pd.DataFrame(
        {
            "instance": number,
            "share": shares,
            "threshold": threshold,
            "size": sizes / NORM,
            "gain": np.log(2) - np.array([f.value for f in fits]),
            "solved": [f.solved for f in fits],
            "again": _threshold_by_second_program(around) / threshold - 1 if number < CROSSED else np.nan,
        }
    )


def _threshold_by_second_program(around: Ball) -> float:
    """The threshold by another road than `Ball.collapse_radius`.

    The primal program over couplings for Wasserstein on the finite space, over laws for KL, and on R^d
    bisection on whether the robust loss falls along a small step from the reference.
    """
    if around.kind == "KL":
        q = cp.Variable(len(around.p))
        centred: list[Any] = [cp.sum(q) == 1, around.v.T @ q == 0]
        problem = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, around.p))), centred)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        return float(problem.value)  # type: ignore[arg-type]
    if around.kind.endswith("finite"):
        return oracle.wasserstein_collapse_radius(around.v, around.p, around.cost, order=around.order)
    # On R^d the robust loss falls along E v from the reference if and only if the radius is below the
    # threshold, so bisection over the radius, on the sign of that change at a small step, finds it.
    step = 1e-5 * (around.p @ around.v)[None]
    low, high = 0.0, 2 * float(np.linalg.norm(around.p @ around.v))
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if around.value(step, middle)[0] < np.log(2) else (low, middle)
    return low


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean |theta_rob| / |theta*| and mean gain over log 2 with intervals, and how often theta is exactly
    0.
    """
    by = ["ball", "share"]
    sizes = summarise(rows, by, "size").rename(columns={"mean": "relative_size"})
    more = rows.groupby(by, as_index=False).agg(
        least_gain=("gain", "min"),
        largest_size=("size", "max"),
        collapsed=("size", lambda s: int((s == 0).sum())),
        unsolved=("solved", lambda s: int((~s.astype(bool)).sum())),
        mean_threshold=("threshold", "mean"),
    )
    return sizes.merge(more)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The optimum beats the reference below the threshold, is the reference above it, and the thresholds
    agree.
    """
    below, above = rows.loc[rows.share < 1], rows.loc[rows.share > 1]
    nearest = below.loc[below.share == below.share.max()]
    out = [
        separation(
            f"{kind}: root of the gain over the reference at {below.share.max():g} of the threshold",
            np.sqrt(mine.gain.clip(lower=0)),
        )
        for kind, mine in nearest.groupby("ball", sort=False)
    ]
    return [
        *out,
        identity("above: theta = 0", above["size"], 0),
        identity("above: value log 2", above.gain, 1e-9),
        identity("below: theta is not 0 (share of fits that are)", (below["size"] == 0).astype(float), 0),
        identity("threshold by a second program, relative", rows.again.dropna(), 1e-4),
    ]
