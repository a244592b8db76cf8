"""W2 balls on R^d: the inner supremum by brute force, fits by scipy, the penalised form, split atoms, and the
envelope.
"""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from distalign import InputError
from distalign.oracles.wasserstein import wasserstein_distance
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.collapse import CollapseWarning, euclidean_collapse_radius
from distalign.solvers.robust.euclidean_ball import worst_moves
from distalign.solvers.robust.wasserstein_euclidean import (
    fit_euclidean,
    fit_euclidean_penalised,
    penalised_robust_loss,
    robust_loss,
)
from distalign.theory.robust.wasserstein import sandwich

BETA = 0.7


@pytest.fixture(scope="module")
def laws():
    instance = log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=BETA)
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    sample = np.random.default_rng(1).multinomial(300, law.weights, 3) / 300
    return psi[law.chosen] - psi[law.rejected], sample


def on_a_grid(theta, v, p, radius, beta):
    """The dual by a wide bounded search in log eta and a fine grid of moves."""
    t, size = beta * v @ theta, beta * np.linalg.norm(theta)
    moves = np.linspace(0, 30, 60_001)
    losses = np.logaddexp(0, size * moves - t[:, None])

    def dual(log_eta):
        return np.exp(log_eta) * radius**2 + p @ (losses - np.exp(log_eta) * moves**2).max(1)

    return minimize_scalar(dual, bounds=(-12, 12), method="bounded", options={"xatol": 1e-10}).fun


@pytest.mark.parametrize(
    ("length", "radius"), [(0.2, 0.01), (2.0, 0.1), (3.0, 1.0), (15.0, 0.05), (15.0, 0.8)]
)
def test_value_is_the_brute_force_dual(laws, length, radius):
    v, sample = laws
    theta = np.random.default_rng(2).normal(size=(3, 3))
    theta *= length / np.linalg.norm(theta, axis=1, keepdims=True)
    found = robust_loss(theta, v, sample, radius=radius, beta=BETA)
    slow = [on_a_grid(*row, radius, BETA) for row in zip(theta, [v] * 3, sample, strict=True)]
    np.testing.assert_allclose(found, slow, atol=2e-6)


def test_value_lies_in_its_envelope(laws):
    v, sample = laws
    rng = np.random.default_rng(3)
    theta = rng.normal(size=(150, 3)) * rng.exponential(2, (150, 1))
    for radius in (0.01, 0.1, 0.5, 2.0):
        _, low, high = sandwich(theta, v, sample[0], radius, BETA)
        found = robust_loss(theta, v, sample[0], radius=radius, beta=BETA)
        assert (low <= found * (1 + 1e-12)).all()
        assert (found <= high * (1 + 1e-12)).all()
        wrong = robust_loss(theta, v, sample[0], radius=1.5 * radius, beta=BETA)  # the test can fail
        assert (wrong > high).any()
    assert robust_loss(np.zeros(3), v, sample[0], radius=0.3).item() == np.log(2)


def test_inner_maximum_of_both_kinds():
    """Against a grid, at prices with one and with two local maxima."""
    t = np.linspace(-3, 40, 50)[None]
    grid = np.linspace(0, 200, 100_001)[:, None]
    for k in (0.004, 0.02, 0.1, 0.124, 0.125, 0.2, 3.0):
        phi, a, other = worst_moves(t, np.array([k]))
        scores = np.logaddexp(0, grid - t) - k * grid**2
        np.testing.assert_allclose(phi[0], scores.max(0), atol=1e-5)
        np.testing.assert_allclose(a[0], grid[scores.argmax(0), 0], atol=2e-3)
        assert (other == a).all() == (k >= 0.125)
    phi, a, _ = worst_moves(t, np.array([np.inf]))
    np.testing.assert_allclose(phi, np.logaddexp(0, -t))
    assert (a == 0).all()


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.25])
def test_fit_by_scipy_and_by_its_worst_law(laws, radius):
    v, sample = laws
    found = fit_euclidean(v, sample, radius=radius, beta=BETA)
    assert found.status.tolist() == ["certified"] * 3
    for i, law in enumerate(sample):
        slow = minimize(
            lambda x, law=law: robust_loss(x, v, law, radius=radius, beta=BETA).item(),
            found.theta[i] + 0.1,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-13},
        )
        np.testing.assert_allclose(found.theta[i], slow.x, atol=1e-4)
        moved = v - found.worst_case[i][:, None] * found.theta[i] / np.linalg.norm(found.theta[i])
        cost = ((v[:, None] - moved) ** 2).sum(2)
        assert wasserstein_distance(law, law, cost, order=2) == pytest.approx(radius, rel=1e-9)
        assert law @ np.logaddexp(0, -BETA * moved @ found.theta[i]) == pytest.approx(
            found.value[i], abs=1e-12
        )


def test_penalised_and_ball_have_one_solution(laws):
    v, sample = laws
    found = fit_euclidean(v, sample, radius=0.1, beta=BETA)
    for i, law in enumerate(sample):
        same = fit_euclidean_penalised(v, law, eta=found.multiplier[i], beta=BETA)
        np.testing.assert_allclose(same.theta[0], found.theta[i], atol=1e-9)
        assert np.sqrt(law @ same.worst_case[0] ** 2) == pytest.approx(0.1, rel=1e-9)
        own = penalised_robust_loss(found.theta[i], v, law, eta=found.multiplier[i], beta=BETA)
        assert own.item() == pytest.approx(found.value[i] - found.multiplier[i] * 0.01, abs=1e-12)
        other = fit_euclidean_penalised(v, law, eta=1.1 * found.multiplier[i], beta=BETA)
        assert np.abs(other.theta[0] - found.theta[i]).max() > 1e-3


def test_an_atom_may_have_to_be_split():
    """One separable direction and a small ball: the optimum is large and part of an atom goes far."""
    v, p = np.array([[1.0], [0.6], [0.3]]), np.array([0.5, 0.3, 0.2])
    found = fit_euclidean(v, p, radius=0.05)
    assert found.status.tolist() == ["certified"]
    assert found.theta[0, 0] > 10
    grid = np.linspace(0.8, 1.25, 40) * found.theta[0, 0]
    values = robust_loss(grid[:, None], v, p, radius=0.05)
    assert values.min() >= found.value[0] - 1e-10
    assert np.sqrt(p @ found.worst_case[0] ** 2) == pytest.approx(0.05, rel=1e-6)


def test_collapse_at_a_mean_shift(laws):
    v, sample = laws
    threshold = euclidean_collapse_radius(v, sample, order=2)[0]
    below, above = (fit_euclidean(v, sample[:1], radius=s * threshold, beta=BETA) for s in (0.999, 1.001))
    assert below.status.tolist() == ["certified"]
    assert np.abs(below.theta).max() > 1e-4
    assert above.status.tolist() == ["collapsed"]
    with pytest.warns(CollapseWarning, match="collapse radius"):
        fit_euclidean(v, sample[0], radius=2 * threshold)


def test_bad_input():
    v, p = [[1.0], [-1.0]], [0.9, 0.1]
    with pytest.raises(InputError, match="radius must be"):
        fit_euclidean(v, p, radius=0.0)
    with pytest.raises(InputError, match="eta must be"):
        fit_euclidean_penalised(v, p, eta=-1.0)
    with pytest.raises(InputError, match="theta must be"):
        robust_loss(np.zeros((3, 2)), v, p, radius=0.1)
    with pytest.raises(InputError, match="order must be 1"):
        euclidean_collapse_radius(v, p, order=2, norm="l1")
