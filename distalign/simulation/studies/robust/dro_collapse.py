"""Above a critical radius the robust optimum is the reference policy itself; just below it is not.

Random log-linear Bradley-Terry instances and five kinds of ball, each at given shares of its own threshold:
KL (information projection on mean zero), Wasserstein of order 1 and 2 on the finite space (linear program),
and on R^d (|E v| / 2 and |E v|). The finite thresholds are computed again by the primal program over
couplings and by cvxpy.
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
CROSSED = 3  # instances whose finite thresholds are computed again


def cells(shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball."""
    return [{"ball": kind, "shares": shares, "instances": instances} for kind in BALLS]


def run(
    rng: np.random.Generator, *, ball: str, shares: list[float], instances: int, defect: bool = False
) -> dict[str, Any]:
    """Size and value of the robust optimum at each share of the threshold, on each instance."""
    parts = [_instance(rng, ball, shares, i, defect) for i in range(instances)]
    return dict(pd.concat(parts, ignore_index=True))


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
            "again": _again(around) / threshold - 1 if number < CROSSED else np.nan,
        }
    )


def _again(around: Ball) -> float:
    """The threshold by the primal program: couplings for Wasserstein, laws for KL, and a fit's own slope at 0
    on R^d.
    """
    if around.kind == "KL":
        q = cp.Variable(len(around.p))
        centred: list[Any] = [cp.sum(q) == 1, around.v.T @ q == 0]
        problem = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, around.p))), centred)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        return float(problem.value)  # type: ignore[arg-type]
    if around.kind.endswith("finite"):
        return oracle.wasserstein_collapse_radius(around.v, around.p, around.cost, order=around.order)
    # The robust loss falls along u E v / |E v| from the reference iff the radius is below the threshold:
    # bisection.
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
    """Below the threshold the optimum beats the reference, above it is the reference, and the thresholds are
    right.
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
