"""Sinkhorn's iterations against POT, against sorting, and against the closed form of normal laws."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.oracles import entropic_plan
from distalign.solvers import sinkhorn
from distalign.theory.aot.entropic import entropic_value_sd
from distalign.theory.aot.transport import gaussian_least_squares_sd


def problem(seed=0, atoms=7, others=5, laws=3):
    rng = np.random.default_rng(seed)
    cost = np.square(np.subtract.outer(rng.normal(size=atoms), rng.normal(size=others)))
    return cost, rng.dirichlet(np.ones(atoms), laws), rng.dirichlet(np.ones(others), laws)


@pytest.mark.parametrize("strength", [0.3, 5.0])
def test_plans_are_those_of_pot(strength):
    cost, p, q = problem()
    solved = sinkhorn(cost, p, q, strength, tolerance=1e-12)
    assert solved.converged.all()
    for i in range(3):
        plan = entropic_plan(cost, p[i], q[i], strength)
        assert solved.transport[i] == pytest.approx((plan * cost).sum(), abs=1e-9)
        divergence = (plan * np.log(plan / np.outer(p[i], q[i]))).sum()
        assert solved.value[i] == pytest.approx((plan * cost).sum() + strength * divergence, abs=1e-9)


def test_atoms_without_weight_change_nothing_and_have_a_potential():
    cost, p, q = problem()
    p[:, 2] = 0
    p /= p.sum(1, keepdims=True)
    solved = sinkhorn(cost, p, q, 1.0, tolerance=1e-12)
    without = sinkhorn(np.delete(cost, 2, 0), np.delete(p, 2, 1), q, 1.0, tolerance=1e-12)
    np.testing.assert_allclose(solved.value, without.value, atol=1e-10)
    assert np.isfinite(solved.u_potential).all()


def test_a_pair_that_needs_more_steps_is_said_to_be_unsolved():
    cost, p, q = problem()
    assert not sinkhorn(cost, p, q, 0.02, tolerance=1e-12, max_steps=8).converged.all()


def test_a_small_strength_tends_to_sorting():
    """Ten values each, a unit apart: at this strength no other pairing has any weight."""
    u, v = np.arange(10.0), np.arange(10.0) + 0.3
    cost = np.square(np.subtract.outer(u, np.random.default_rng(1).permutation(v)))
    law = np.full(10, 0.1)
    assert sinkhorn(cost, law, law, 0.14).transport[0] == pytest.approx(0.09, abs=2e-3)


def test_the_limit_law_at_strength_zero_is_that_of_sorting():
    laws = (0.4, 1.0, 0.0, 1.5, 0.7)
    assert entropic_value_sd(*laws, 1e-9) == pytest.approx(gaussian_least_squares_sd(*laws), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strength": 0.0}, "strength"),
        ({"strength": 1e-4}, "strength must be at least"),
        ({"cost": np.ones(3)}, "cost"),
        ({"p": [0.5, 0.5]}, "p must hold 7"),
        ({"q": [0.5, 0.5, 0.5, 0.0, 0.0]}, "q must be non-negative and sum to 1"),
    ],
)
def test_what_cannot_be_solved_is_refused(change, words):
    cost, p, q = problem()
    with pytest.raises(InputError, match=words):
        sinkhorn(**{"cost": cost, "p": p, "q": q, "strength": 1.0, **change})
