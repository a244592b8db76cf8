"""Transport potentials against the change of the cost with the weights, which the linear program knows."""

import numpy as np
import pytest

from distalign.oracles.transport import transport_cost
from distalign.theory.aot.dual import potentials

PENALTIES = [lambda x: np.logaddexp(0, -x), lambda x: (0.5 - x) ** 2, lambda x: np.clip(0.5 - x, 0, None)]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_potentials_are_the_derivatives_of_the_cost_by_the_weights(penalty):
    rng = np.random.default_rng(1)
    u, v, p, q = (
        rng.normal(size=7),
        rng.normal(size=5),
        rng.dirichlet(np.full(7, 9.0)),
        rng.dirichlet(np.full(5, 9.0)),
    )
    phi, psi = potentials(u, v, penalty, p, q)
    for values, weights, dual in ((u, p, phi), (v, q, psi)):
        step = 1e-6 * (np.eye(len(values))[0] - np.eye(len(values))[3])
        ends = [
            transport_cost(u, v, penalty, *((weights + s, q) if values is u else (p, weights + s)))
            for s in (step, -step)
        ]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(dual[0] - dual[3], abs=1e-7)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_ties_and_equal_weights_leave_no_gap(penalty):
    u, v = np.array([1.0, 1.0, 0.0, 2.0]), np.array([1.0, 0.5, 0.5, 0.5])
    w = np.full(4, 0.25)
    phi, psi = potentials(u, v, penalty, w, w)
    assert (phi[:, None] + psi <= penalty(u[:, None] - v) + 1e-12).all()
    assert w @ phi + w @ psi == pytest.approx(transport_cost(u, v, penalty), abs=1e-12)


def test_a_potential_of_a_penalty_that_is_not_convex_is_infeasible():
    rng = np.random.default_rng(3)
    u, v, w = rng.normal(size=9), rng.normal(size=9), np.full(9, 1 / 9)
    phi, psi = potentials(u, v, lambda x: (x < 0).astype(float), w, w)
    assert (phi[:, None] + psi - (u[:, None] < v)).max() > 0.5
