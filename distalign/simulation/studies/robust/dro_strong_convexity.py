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
In the tightest case that was found one prompt has two responses with features 1 and -1 and theta, measured
from the reference, is about the largest allowed, 2 B. Every law then covers the features equally and every
margin is about the largest, so the modulus is gamma lambda up to one per cent.

The two roads. Robust losses from the solvers give the modulus; theory gives gamma and the coverage of the
worst law gives lambda.

The checks: for each kind of ball gamma lambda is at most the smallest modulus of every instance. Where the
ball holds a law that misses a direction, lambda is 0 and the bound is counted as vacuous.

The planted defects: the robust loss of finite Wasserstein balls 5 % too small; and margins taken to be at
most 2 beta B in gamma, which makes it 3 % too large.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.studies.robust.balls import Ball, ball
from distalign.simulation.verdict import Check, bound
from distalign.solvers.robust.regularity import regularity_number
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.theory.robust.wasserstein import strong_convexity

DEFECTS = (
    Defect(
        "the robust loss of finite Wasserstein balls 5 % too small",
        wasserstein_worst_case,
        result(lambda worst: replace(worst, value=0.95 * worst.value)),
        where(ball={"W1 finite", "W2 finite"}),
    ),
    Defect(
        "margins in gamma at most 2 beta B instead of 4 beta B",
        strong_convexity,
        argument("norm", lambda b: b / 2),
    ),
)
PROMPTS, RESPONSES, DIMENSION, BETA, NORM = 3, 4, 3, 0.1, 1.0
TIGHTEST = -1  # number of the instance with two responses
COVERED = 1e-6  # below it the ball holds a law that misses a direction, and the lemma says nothing


def cells(radii: dict[str, list[float]], triples: int, instances: int) -> list[dict[str, Any]]:
    """One cell per ball and radius."""
    return [
        {"ball": kind, "radius": radius, "triples": triples, "instances": instances}
        for kind, values in radii.items()
        for radius in values
    ]


def run(
    rng: np.random.Generator, *, ball: str, radius: float, triples: int, instances: int
) -> dict[str, Any]:
    """Smallest modulus of each instance beside gamma lambda."""
    rows = [_instance(rng, ball, radius, triples) for _ in range(instances)]
    rows.append(_two_responses(rng, ball, radius, triples))
    return {
        "instance": [*range(instances), TIGHTEST],
        **{name: [row[name] for row in rows] for name in rows[0]},
    }


def _two_responses(rng: np.random.Generator, kind: str, radius: float, triples: int) -> dict[str, Any]:
    """The smallest modulus at pairs of parameters between 1.8 B and 2 B, for two responses of features 1 and
    -1.
    """
    around = Ball(kind, np.array([[2.0], [-2.0]]), np.array([0.9, 0.1]), 1 - np.eye(2), BETA)
    a, b = (NORM * rng.uniform(*ends, (triples, 1)) for ends in ((1.8, 1.85), (1.95, 2.0)))
    return _moduli(around, radius, a, b, rng.uniform(0.2, 0.8, triples))


def _instance(rng: np.random.Generator, kind: str, radius: float, triples: int) -> dict[str, Any]:
    around = ball(kind, log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA))
    _, worst_law = _coverage(around, radius)
    worst_direction = np.linalg.eigh(around.v.T @ (worst_law[:, None] * around.v))[1][:, 0]
    a, b = _uniform_in_ball(rng, triples), _uniform_in_ball(rng, triples)
    half = triples // 2
    # Project the difference of half of the pairs on the worst direction. Most stay inside the ball of norm B;
    # the others are left out, as are pairs so near each other that (1) would divide rounding by rounding.
    b[:half] = a[:half] + worst_direction * (worst_direction @ (b - a)[:half].T)[:, None]
    t = rng.uniform(0.2, 0.8, triples)
    usable = (np.linalg.norm(b, axis=1) <= NORM) & (np.linalg.norm(a - b, axis=1) > 0.2 * NORM)
    return _moduli(around, radius, a[usable], b[usable], t[usable])


def _coverage(around: Ball, radius: float) -> tuple[float, np.ndarray]:
    """lambda of the ball, and the law that attains it."""
    cost = None if around.kind == "KL" else around.cost
    return regularity_number(around.v, around.p, radius=radius, cost=cost, order=around.order)


def _moduli(around: Ball, radius: float, a: np.ndarray, b: np.ndarray, t: np.ndarray) -> dict[str, Any]:
    """The smallest modulus (1) over the triples, beside gamma lambda."""
    values = [around.value(x, radius) for x in (a, b, t[:, None] * a + (1 - t)[:, None] * b)]
    gap = np.linalg.norm(a - b, axis=1)
    moduli = 2 * (t * values[0] + (1 - t) * values[1] - values[2]) / (t * (1 - t) * gap**2)
    coverage, _ = _coverage(around, radius)
    return {
        "modulus": moduli.min(),
        "bound": strong_convexity(BETA, NORM, coverage),
        "coverage": coverage,
        "nominal_coverage": regularity_number(around.v, around.p, radius=0)[0],
        "pairs": len(moduli),
    }


def _uniform_in_ball(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points drawn uniformly from the ball of norm B."""
    x = rng.normal(size=(count, DIMENSION))
    return NORM * x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((count, 1)) ** (1 / DIMENSION)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest ratio modulus / (gamma lambda) of the random instances and of the tightest, and the coverage
    that is left, per ball and radius.
    """
    tightest = rows.loc[rows.instance == TIGHTEST].assign(tightest_ratio=lambda r: r.modulus / r.bound)
    rows = rows.loc[rows.instance != TIGHTEST]
    ratios = rows.assign(
        ratio=rows.modulus / rows.bound,
        left=rows.coverage / rows.nominal_coverage,
        empty=rows.coverage < COVERED,
    )
    grouped = ratios.groupby(["ball", "radius"], as_index=False, sort=False)
    out = grouped.agg(
        instances=("instance", "size"),
        pairs=("pairs", "sum"),
        least_ratio=("ratio", "min"),
        median_ratio=("ratio", "median"),
        least_modulus=("modulus", "min"),
        coverage=("coverage", "median"),
        coverage_left=("left", "median"),
        uncovered=("empty", "sum"),
    )
    return out.merge(tightest[["ball", "radius", "tightest_ratio"]])


def checks(rows: pd.DataFrame) -> list[Check]:
    """The smallest modulus of each kind of ball against gamma lambda; the bound is vacuous where lambda
    is 0.
    """
    return [
        bound(f"{kind}: gamma lambda <= modulus", mine.bound, mine.modulus, vacuous=mine.coverage < COVERED)
        for kind, mine in rows.groupby("ball", sort=False)
    ]
