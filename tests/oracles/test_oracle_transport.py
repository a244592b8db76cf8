"""The transport program against the quantile formula, its own dual, and the penalty where sorting fails."""

import numpy as np
import pytest
import torch

from distalign import InputError
from distalign.oracles.transport import optimal_transport, transport_cost
from distalign.preferences import quantile_coupling

CONVEX = {
    "least_squares": lambda x: (0.3 - x) ** 2,
    "hinge": lambda x: np.clip(0.3 - x, 0, None),
    "logistic": lambda x: np.logaddexp(0, -2 * x),
}


def problem(seed, n, m):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1, n), rng.normal(0, 2, m), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


@pytest.mark.parametrize("h", CONVEX.values(), ids=CONVEX)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (9, 9), (6, 11)])
def test_sorted_formula(h, n, m):
    u, v, p, q = problem(0, n, m)
    widths, a, b = (x.numpy() for x in quantile_coupling(*(torch.from_numpy(x) for x in (u, v, p, q))))
    assert transport_cost(u, v, h, p, q) == pytest.approx(float(widths @ h(a - b)), abs=1e-12)


def test_sorting_misses_the_optimum_of_a_penalty_that_is_not_convex():
    u, v = np.array([0.0, 1.0]), np.array([0.5, 1.5])  # sorted: both violated; crossed: one
    assert transport_cost(u, v, lambda x: (x < 0).astype(float)) == pytest.approx(0.5)


@pytest.mark.parametrize("h", CONVEX.values(), ids=CONVEX)
def test_plan_and_potentials(h):
    u, v, p, q = problem(1, 7, 5)
    answer = optimal_transport(u, v, h, p, q)
    cost = h(u[:, None] - v)
    np.testing.assert_allclose(answer.plan.sum(1), p, atol=1e-12)
    np.testing.assert_allclose(answer.plan.sum(0), q, atol=1e-12)
    assert answer.cost == pytest.approx((answer.plan * cost).sum())
    assert (answer.u_potential[:, None] + answer.v_potential - cost).max() < 1e-9
    assert p @ answer.u_potential + q @ answer.v_potential == pytest.approx(answer.cost)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"u": []}, "u must be an array"),
        ({"u": [[1.0]]}, "u must be an array"),
        ({"p": [0.5, 0.5]}, "p has shape"),
        ({"q": [0.5, 0.6]}, "q must be an array"),
        ({"q": [-0.5, 1.5]}, "q must be an array"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(InputError, match=message):
        transport_cost(**{"u": [0.0], "v": [0.0, 1.0], "cost": np.abs, **kwargs})
