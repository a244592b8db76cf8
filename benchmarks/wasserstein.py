"""A robust fit in a W1 ball on a finite space.

The fair rival solves the same convex program with few of its m^2 rows and adds, for each atom, the row that
is violated most (cvxpy and Clarabel). The popular one gives it all rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import cvxpy as cp
import numpy as np

from benchmarks.timing import Rival, Work
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import wasserstein_finite
from distalign.types import Array

SMALL, RADIUS = (20, 4, 1), 0.2


def problem(prompts: int, responses: int, seed: int) -> tuple[Array, Array, Array]:
    """Features, law and distances of the comparisons of an instance."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(seed), prompts, responses, 3, norm=2.5, beta=1.0
    )
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    pair = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    return psi[law.chosen] - psi[law.rejected], law.weights, np.linalg.norm(pair[:, None] - pair, axis=2)


def works() -> Iterator[Work]:
    """One space with both rivals."""
    v, p, distance = problem(*SMALL)
    yield Work(
        f"W1 ball, {len(p)} atoms",
        lambda: float(wasserstein_finite.fit_finite(v, p, distance, radius=RADIUS).value[0]),
        [
            Rival("cvxpy + Clarabel, rows as needed", lambda: by_rows(v, p, distance), repeats=2),
            Rival("cvxpy + Clarabel, all rows", whole(v, p, distance), "popular", repeats=1),
        ],
        goal=2,
        same=1e-6,
        certificate=lambda: float(wasserstein_finite.fit_finite(v, p, distance, radius=RADIUS).gap[0]),
    )


def by_rows(v: Array, p: Array, distance: Array) -> float:
    """min over theta and eta of  eta r + sum p_i max_j (l_j - eta d_ij),  rows (i, j) added as violated."""
    m = len(p)
    rows = {(i, i) for i in range(m)}
    while True:
        i, j = np.array(sorted(rows)).T
        theta, eta, s = cp.Variable(v.shape[1]), cp.Variable(nonneg=True), cp.Variable(m)
        constraints = [s[i] >= cp.logistic(-v[j] @ theta) - cp.multiply(distance[i, j], eta)]
        program = cp.Problem(cp.Minimize(eta * RADIUS + p @ s), constraints)
        program.solve(solver=cp.CLARABEL)
        losses = np.logaddexp(0, -v @ theta.value)
        worst = losses - eta.value * distance
        wanted = worst.argmax(1)
        violated = worst.max(1) > s.value + 1e-8
        if not violated.any():
            return float(program.value)  # type: ignore[arg-type]
        rows |= {(int(a), int(wanted[a])) for a in np.flatnonzero(violated)}


def whole(v: Array, p: Array, distance: Array):
    """The program with all rows, compiled once."""
    m = len(p)
    theta, eta = cp.Variable(v.shape[1]), cp.Variable(nonneg=True)
    s, u = cp.Variable(m), cp.Variable(m)
    here = cp.reshape(s, (m, 1), order="C") @ np.ones((1, m))
    there = np.ones((m, 1)) @ cp.reshape(u, (1, m), order="C")
    constraints = [here >= there - eta * distance, cp.logistic(-v @ theta) <= u]
    program = cp.Problem(cp.Minimize(eta * RADIUS + p @ s), constraints)

    def solve() -> float:
        program.solve(solver=cp.CLARABEL)
        return float(program.value)  # type: ignore[arg-type]

    return solve
