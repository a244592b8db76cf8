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
  for every ball;
- identities: above the threshold theta is exactly 0 and the value is log 2; below it no fit is 0;
- an identity: both roads give the same threshold.

The defect takes |E v|, the shift that centres the law, for every threshold. That is right for order 2 on
R^d only, so fits said to be above the threshold move, or fits below it do not, and the thresholds of the
second road differ.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd

from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust.balls import BALLS, Ball, ball
from distalign.simulation.verdict import Check, identity, separation

DEFECT = "every threshold taken to be |E v|, the shift that centres the law"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 1.0
CROSSED = 3  # instances whose thresholds are computed again by the second road


def cells(shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball."""
    return [{"ball": kind, "shares": shares, "instances": instances} for kind in BALLS]


def run(
    rng: np.random.Generator, *, ball: str, shares: list[float], instances: int, defect: bool = False
) -> dict[str, Any]:
    """Size and value of the robust optimum at each share of the threshold, on each instance."""
    tables = [_instance(rng, ball, shares, i, defect) for i in range(instances)]
    return dict(pd.concat(tables, ignore_index=True))


def _instance(
    rng: np.random.Generator, kind: str, shares: list[float], number: int, defect: bool
) -> pd.DataFrame:
    instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    around = ball(kind, instance)
    threshold = float(np.linalg.norm(around.p @ around.v)) if defect else around.collapse_radius()
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
        separation(f"{kind}: gain over the reference at {below.share.max():g} of the threshold", mine.gain)
        for kind, mine in nearest.groupby("ball", sort=False)
    ]
    return [
        *out,
        identity("above: theta = 0", above["size"], 0),
        identity("above: value log 2", above.gain, 1e-9),
        identity("below: theta is not 0 (share of fits that are)", (below["size"] == 0).astype(float), 0),
        identity("threshold by a second program, relative", rows.again.dropna(), 1e-4),
    ]
