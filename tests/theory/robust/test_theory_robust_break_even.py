"""Break-even radii against programs for the nearest law, and their shape along multiples of a policy."""

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from distalign.theory.robust import (
    chi2_break_even,
    kl_break_even,
    largest_break_even,
    transport_break_even,
    weak_gain,
)


def problem(seed: int, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(size))
    losses = rng.exponential(size=size)
    losses *= rng.uniform(0.2, 0.9) * np.log(2) / (p @ losses)
    losses[0] = 2.0
    return losses, p


@pytest.mark.parametrize("seed", range(12))
def test_radii_are_those_of_the_nearest_law(seed):
    losses, p = problem(seed)
    if p @ losses >= np.log(2):
        assert kl_break_even(losses, p) == chi2_break_even(losses, p) == 0
        return
    q = cp.Variable(len(p), nonneg=True)
    bad = [cp.sum(q) == 1, losses @ q >= np.log(2)]
    for found, divergence in (
        (kl_break_even(losses, p), cp.sum(cp.kl_div(q, p))),
        (chi2_break_even(losses, p), cp.sum_squares(cp.multiply(q - p, p**-0.5)) / 2),
    ):
        program = cp.Problem(cp.Minimize(divergence), bad)
        program.solve(solver=cp.CLARABEL)
        assert found == pytest.approx(program.value, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("seed", range(12))
def test_transport_is_that_of_the_linear_program(seed):
    losses, p = problem(seed, 5)
    points = np.random.default_rng(seed).normal(size=(5, 2))
    cost = np.linalg.norm(points[:, None] - points, axis=2)
    rows = np.kron(np.eye(5), np.ones(5))
    limit = [-np.log(2)]
    program = linprog(cost.ravel(), A_ub=-np.tile(losses, 5)[None], b_ub=limit, A_eq=rows, b_eq=p)
    assert transport_break_even(losses, p, cost) == pytest.approx(program.fun, abs=1e-9)


def test_shrinking_moves_the_radius_to_the_limit_and_four_times_out():
    t = np.array([0.3, -0.3, 0.1, -0.1])
    p = np.array([0.5, 0.5, 0.5, 0.5]) / (1 + np.exp(-t))
    radii = [kl_break_even(np.logaddexp(0, -c * t), p) for c in (1.0, 0.7, 0.4, 0.1, 1e-3)]
    assert (np.diff(radii) > 0).all()
    assert radii[-1] == pytest.approx(largest_break_even(t, p), rel=2e-3)
    assert radii[2] / radii[0] == pytest.approx(weak_gain(0.4), rel=0.01)


def test_ends():
    assert kl_break_even([0.1, 0.2], [0.5, 0.5]) == chi2_break_even([0.1, 0.2], [0.5, 0.5]) == np.inf
    assert transport_break_even([0.1, 0.2], [0.5, 0.5], [[0, 1], [1, 0]]) == np.inf
    assert transport_break_even([1.0, 2.0], [0.5, 0.5], [[0, 1], [1, 0]]) == 0
