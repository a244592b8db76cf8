"""Strong convexity of robust losses: the modulus at random pairs of parameters against gamma lambda.

The claim is the paper's (its lemmas): on the ball of norm B both robust losses are strongly convex with
modulus at least gamma lambda,

    gamma = beta^2 sigma(4 beta B) sigma(-4 beta B),

lambda being the smallest eigenvalue of E_P[v v^T] over all laws P of the ball. It is computed here
(`distalign.solvers.robust.regularity`), not assumed.

The run. For theta_1, theta_2 in the ball of norm B and t in (0, 1) the modulus is

    2 (t L(theta_1) + (1 - t) L(theta_2) - L(t theta_1 + (1 - t) theta_2))
        / (t (1 - t) |theta_1 - theta_2|^2).                                                 (1)

Random triples are drawn on random instances, for KL and finite Wasserstein balls at several radii. Half of
the pairs differ along the direction that the worst law covers worst, where the modulus should be smallest.

The two roads. Robust losses from the solvers give the modulus; theory gives gamma and the coverage of the
worst law gives lambda.

The checks: for each kind of ball gamma lambda is at most the smallest modulus of every instance. Where the
ball holds a law that misses a direction, lambda is 0 and the bound is counted as vacuous.

The defect leaves the factor beta^2 out of gamma. With beta = 0.1 the bound is then a hundred times too
large, and moduli fall below it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust.balls import ball
from distalign.simulation.verdict import Check, bound
from distalign.solvers.robust.regularity import regularity_number
from distalign.theory.robust.wasserstein import strong_convexity

DEFECT = "gamma without its factor beta^2"
PROMPTS, RESPONSES, DIMENSION, BETA, NORM = 3, 4, 3, 0.1, 1.0
COVERED = 1e-6  # below it the ball holds a law that misses a direction, and the lemma says nothing


def cells(radii: dict[str, list[float]], triples: int, instances: int) -> list[dict[str, Any]]:
    """One cell per ball and radius."""
    return [
        {"ball": kind, "radius": radius, "triples": triples, "instances": instances}
        for kind, values in radii.items()
        for radius in values
    ]


def run(
    rng: np.random.Generator, *, ball: str, radius: float, triples: int, instances: int, defect: bool = False
) -> dict[str, Any]:
    """Smallest modulus of each instance beside gamma lambda."""
    rows = [_instance(rng, ball, radius, triples, defect) for _ in range(instances)]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(
    rng: np.random.Generator, kind: str, radius: float, triples: int, defect: bool
) -> dict[str, Any]:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    cost = None if kind == "KL" else around.cost
    coverage, worst_law = regularity_number(around.v, around.p, radius=radius, cost=cost, order=around.order)
    nominal, _ = regularity_number(around.v, around.p, radius=0)
    worst_direction = np.linalg.eigh(around.v.T @ (worst_law[:, None] * around.v))[1][:, 0]
    a, b = _uniform_in_ball(rng, triples), _uniform_in_ball(rng, triples)
    half = triples // 2
    # Project the difference of half of the pairs on the worst direction. Most stay inside the ball of norm B;
    # the others are left out, as are pairs so near each other that (1) would divide rounding by rounding.
    b[:half] = a[:half] + worst_direction * (worst_direction @ (b - a)[:half].T)[:, None]
    t = rng.uniform(0.2, 0.8, triples)
    gap = np.linalg.norm(a - b, axis=1)
    usable = (np.linalg.norm(b, axis=1) <= NORM) & (gap > 0.2 * NORM)
    a, b, t, gap = a[usable], b[usable], t[usable], gap[usable]
    values = [around.value(x, radius) for x in (a, b, t[:, None] * a + (1 - t)[:, None] * b)]
    # equation (1)
    moduli = 2 * (t * values[0] + (1 - t) * values[1] - values[2]) / (t * (1 - t) * gap**2)
    gamma_lambda = strong_convexity(BETA, NORM, coverage) / (BETA**2 if defect else 1)
    return {
        "modulus": moduli.min(),
        "bound": gamma_lambda,
        "coverage": coverage,
        "nominal_coverage": nominal,
        "pairs": len(moduli),
    }


def _uniform_in_ball(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points drawn uniformly from the ball of norm B."""
    x = rng.normal(size=(count, DIMENSION))
    return NORM * x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((count, 1)) ** (1 / DIMENSION)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest ratio modulus / (gamma lambda) and the coverage that is left, per ball and radius."""
    ratios = rows.assign(
        ratio=rows.modulus / rows.bound,
        left=rows.coverage / rows.nominal_coverage,
        empty=rows.coverage < COVERED,
    )
    grouped = ratios.groupby(["ball", "radius"], as_index=False, sort=False)
    return grouped.agg(
        instances=("instance", "size"),
        pairs=("pairs", "sum"),
        least_ratio=("ratio", "min"),
        median_ratio=("ratio", "median"),
        least_modulus=("modulus", "min"),
        coverage=("coverage", "median"),
        coverage_left=("left", "median"),
        uncovered=("empty", "sum"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The smallest modulus of each kind of ball against gamma lambda; the bound is vacuous where lambda
    is 0.
    """
    return [
        bound(f"{kind}: gamma lambda <= modulus", mine.bound, mine.modulus, vacuous=mine.coverage < COVERED)
        for kind, mine in rows.groupby("ball", sort=False)
    ]
