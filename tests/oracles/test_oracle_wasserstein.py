"""The Wasserstein programs against hand-computed answers, and their chain of solvers."""

import cvxpy as cp
import numpy as np
import pytest

from distalign import InputError
from distalign.oracles import wasserstein as oracle

TWO = np.array([[0.0, 2.0], [2.0, 0.0]])


def test_two_atoms_by_hand():
    """Mass radius / 2 moves from the good to the bad atom, so the law is (0.9 - radius / 2, 0.1 + radius /
    2).
    """
    value, law = oracle.wasserstein_ball_value([0.0, 3.0], [0.9, 0.1], TWO, radius=0.4)
    np.testing.assert_allclose(law, [0.7, 0.3], atol=1e-12)
    assert value == pytest.approx(0.9)
    theta, value, solver = oracle.wasserstein_finite_fit(
        [[1.0], [-1.0]], [0.9, 0.1], TWO, radius=0.4, beta=0.5
    )
    assert theta[0] == pytest.approx(np.log(7 / 3) / 0.5, abs=1e-6)
    assert value == pytest.approx(-0.7 * np.log(0.7) - 0.3 * np.log(0.3), abs=1e-9)
    assert solver == cp.CLARABEL
    assert oracle.wasserstein_collapse_radius([[1.0], [-1.0]], [0.9, 0.1], TWO) == pytest.approx(0.8)
    assert oracle.wasserstein_collapse_radius([[1.0], [-1.0]], [0.9, 0.1], TWO**2, order=2) == pytest.approx(
        np.sqrt(4 * 0.4)
    )
    assert oracle.wasserstein_collapse_radius([[1.0], [2.0]], [0.9, 0.1], TWO) == np.inf


def test_distance_of_two_laws():
    assert oracle.wasserstein_distance([0.9, 0.1], [0.5, 0.5], TWO) == pytest.approx(0.8)
    assert oracle.wasserstein_distance([0.9, 0.1], [0.5, 0.5], TWO**2, order=2) == pytest.approx(np.sqrt(1.6))


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_norm_form_in_one_dimension(norm):
    """In one dimension all norms agree: 0.9 sigma(-t) - 0.1 sigma(t) = radius gives sigma(-t) = 0.1 +
    radius.
    """
    theta, _, _ = oracle.wasserstein_norm_fit([[1.0], [-1.0]], [0.9, 0.1], radius=0.2, beta=0.5, norm=norm)
    assert theta[0] == pytest.approx(np.log(7 / 3) / 0.5, abs=1e-6)


def test_flips_are_what_two_atoms_exchange():
    """A label that flips at the cost 2 is the finite space of two atoms at the distance 2, if features may
    not move.
    """
    flipped, _, _ = oracle.wasserstein_norm_fit([[1.0]], [1.0], radius=0.4, flip_cost=0.1)
    assert flipped[0] == pytest.approx(0, abs=1e-6)


def test_the_chain_reports_each_status():
    x = cp.Variable()
    with pytest.raises(InputError, match=r"CLARABEL: infeasible.*SCS: infeasible"):
        oracle._first_answer(cp.Problem(cp.Minimize(x), [x >= 1, x <= 0]))
    assert oracle._first_answer(cp.Problem(cp.Minimize(x), [x >= 1])) == cp.CLARABEL


def test_the_chain_goes_on_after_a_failure(monkeypatch):
    solve, tried = cp.Problem.solve, []

    def fails(problem, solver=None, **options):
        tried.append(solver)
        if solver == cp.CLARABEL:
            raise cp.SolverError("numerical trouble")
        return solve(problem, solver=solver, **options)

    monkeypatch.setattr(cp.Problem, "solve", fails)
    x = cp.Variable()
    assert oracle._first_answer(cp.Problem(cp.Minimize(x), [x >= 1])) == cp.SCS
    assert tried == [cp.CLARABEL, cp.CLARABEL, cp.SCS]
