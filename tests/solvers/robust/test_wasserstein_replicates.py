"""The solver for many laws of few atoms against the general one and against a conic program."""

import cvxpy as cp
import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import wasserstein_finite, wasserstein_replicates
from distalign.solvers.robust.collapse import wasserstein_collapse_radius


@pytest.fixture(scope="module")
def instance():
    drawn = log_linear_bradley_terry(np.random.default_rng(3), 2, 3, 2, norm=2.0, beta=1.0)
    law, psi = drawn.population.pairs(distinct=True), drawn.features.reshape(-1, 2)
    z = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    return psi[law.chosen] - psi[law.rejected], law.weights, np.linalg.norm(z[:, None] - z, axis=-1)


@pytest.mark.parametrize(("order", "radius"), [(1, 0.01), (1, 0.1), (2, 0.3), (3, 0.3)])
@pytest.mark.parametrize("n", [30, 10_000])
def test_agrees_with_the_general_solver(instance, order, radius, n):
    v, p, distance = instance
    laws, cost = np.random.default_rng(0).multinomial(n, p, 40) / n, distance**order
    ours = wasserstein_replicates.fit_replicates(v, laws, cost, radius=radius, order=order, beta=0.7)
    general = wasserstein_finite.fit_finite(v, laws, cost, radius=radius, order=order, beta=0.7)
    assert ours.solved.all()
    assert ours.gap.max() <= 1e-9
    np.testing.assert_array_equal(ours.collapsed, general.collapsed)
    np.testing.assert_allclose(ours.value, general.value, atol=2e-9)
    np.testing.assert_allclose(ours.theta, general.theta, atol=1e-5)
    other = wasserstein_finite.fit_finite(v, laws, cost, radius=1.02 * radius, order=order, beta=0.7)
    assert np.abs(ours.theta - other.theta).max() > 1e-4  # the comparison sees two per cent of the radius


@pytest.mark.parametrize(("order", "radius"), [(1, 0.1), (2, 0.3)])
def test_agrees_with_a_conic_program(instance, order, radius):
    v, p, distance = instance
    cost, m = distance**order, len(p)
    theta, eta, s = cp.Variable(2), cp.Variable(nonneg=True), cp.Variable(m)
    rows = [cp.logistic(-v @ theta) - eta * cost[i] <= s[i] for i in range(m)]
    problem = cp.Problem(cp.Minimize(eta * radius**order + p @ s), rows)
    problem.solve(solver=cp.CLARABEL)
    ours = wasserstein_replicates.fit_replicates(v, p, cost, radius=radius, order=order)
    assert ours.value[0] == pytest.approx(problem.value, abs=1e-7)
    np.testing.assert_allclose(ours.theta[0], theta.value, atol=1e-4)


def test_the_worst_law_lies_in_the_ball_and_attains_the_bound(instance):
    v, p, distance = instance
    found = wasserstein_replicates.fit_replicates(v, p, distance, radius=0.1)
    losses = np.logaddexp(0, -v @ found.theta[0])
    assert found.worst_case[0] @ losses == pytest.approx(found.value[0], abs=1e-8)
    worst = wasserstein_finite.wasserstein_worst_case(losses, p, distance, radius=0.1)
    assert worst.value == pytest.approx(found.value[0], abs=1e-9)


def test_collapsed_laws_have_theta_zero_exactly_and_are_those_of_the_linear_program(instance):
    v, p, distance = instance
    laws, radius = (
        np.random.default_rng(0).multinomial(100, p, 40) / 100,
        float(wasserstein_collapse_radius(v, p, distance)[0]),
    )
    found = wasserstein_replicates.fit_replicates(v, laws, distance, radius=radius)
    np.testing.assert_array_equal(found.collapsed, wasserstein_collapse_radius(v, laws, distance) <= radius)
    assert 0 < found.collapsed.sum() < 40
    assert (found.theta[found.collapsed] == 0).all()
    assert (np.abs(found.theta[~found.collapsed]).max(1) > 1e-6).all()


def test_what_is_not_certified_goes_to_the_general_solver(instance, monkeypatch):
    v, p, distance = instance
    solve = wasserstein_replicates._solve

    def stalled(x, laws, cost, budget):
        theta, eta, z = solve(x, laws, cost, budget)
        theta[0] *= 1.1
        return theta, eta, z

    laws = np.random.default_rng(0).multinomial(1000, p, 3) / 1000
    right = wasserstein_replicates.fit_replicates(v, laws, distance, radius=0.1)
    monkeypatch.setattr(wasserstein_replicates, "_solve", stalled)
    assert wasserstein_replicates.fit_replicates(v, laws, distance, radius=0.1).gap.max() <= 1e-9
    np.testing.assert_allclose(
        wasserstein_replicates.fit_replicates(v, laws, distance, radius=0.1).theta, right.theta, atol=1e-6
    )
    monkeypatch.setattr(wasserstein_finite, "fit_finite", lambda v, p, *rest, **options: right)
    with pytest.raises(
        ValueError, match=r"broadcast|shape"
    ):  # three answers for the one law that was handed over
        wasserstein_replicates.fit_replicates(v, laws, distance, radius=0.1)


def test_bad_input(instance):
    v, p, distance = instance
    with pytest.raises(InputError, match="radius"):
        wasserstein_replicates.fit_replicates(v, p, distance, radius=0)
    with pytest.raises(InputError, match="cost"):
        wasserstein_replicates.fit_replicates(v, p, distance[:3], radius=0.1)
