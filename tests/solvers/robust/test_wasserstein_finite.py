"""Wasserstein balls on a finite space: worst case, fits, their certificate, fall-backs, and what is
refused.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from distalign import InputError
from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import interior, wasserstein_finite
from distalign.solvers.robust.collapse import CollapseWarning, wasserstein_collapse_radius
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_fit import finished, triangle_excess

BETA = 0.7


@pytest.fixture(scope="module")
def space():
    """Features, exact law, and distance of a small instance."""
    instance = log_linear_bradley_terry(np.random.default_rng(0), 3, 3, 3, norm=2.5, beta=BETA)
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    pair = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    return psi[law.chosen] - psi[law.rejected], law.weights, np.linalg.norm(pair[:, None] - pair, axis=2)


@pytest.mark.parametrize(("order", "radius"), [(1, 1e-4), (1, 0.1), (2, 0.2), (3.5, 0.4), (1, 5.0)])
def test_worst_case_is_the_linear_program_and_spends_the_radius(space, order, radius):
    _, p, distance = space
    losses = np.random.default_rng(1).exponential(size=(4, len(p)))
    found = wasserstein_worst_case(losses, p, distance**order, radius=radius, order=order)
    np.testing.assert_allclose(found.gap, 0, atol=1e-14)
    for i, row in enumerate(losses):
        value, _ = oracle.wasserstein_ball_value(row, p, distance**order, radius=radius, order=order)
        assert found.value[i] == pytest.approx(value, abs=1e-9)
        reached = oracle.wasserstein_distance(p, found.weights[i], distance**order, order=order)
        # At radius 5 all mass is at the largest loss and the rest of the budget is left.
        assert reached == pytest.approx(radius, rel=1e-9) if radius < 5 else found.multiplier[i] == 0


def test_worst_case_of_many_laws_at_once_is_one_at_a_time(space):
    _, p, distance = space
    rng = np.random.default_rng(2)
    losses, laws = rng.normal(size=(5, len(p))), rng.multinomial(30, p, 5) / 30
    together = wasserstein_worst_case(losses, laws, distance, radius=0.2)
    for i in range(5):
        alone = wasserstein_worst_case(losses[i], laws[i], distance, radius=0.2)
        assert together.value[i] == pytest.approx(float(alone.value), abs=1e-14)
    assert wasserstein_worst_case(np.full(len(p), 0.3), p, distance, radius=0.2).value == pytest.approx(0.3)


@pytest.mark.parametrize(("order", "radius"), [(1, 0.05), (2, 0.25), (3, 0.3)])
def test_fit_is_the_conic_program(space, order, radius):
    v, p, distance = space
    sample = np.random.default_rng(3).multinomial(100, p, 2) / 100
    found = fit_finite(v, sample, distance**order, radius=radius, beta=BETA, order=order)
    assert found.status.tolist() == ["certified"] * 2
    assert (np.abs(found.gap) < 1e-10).all()
    for i, law in enumerate(sample):
        theta, value, _ = oracle.wasserstein_finite_fit(
            v, law, distance**order, radius=radius, beta=BETA, order=order
        )
        np.testing.assert_allclose(found.theta[i], theta, atol=1e-5)
        assert found.value[i] == pytest.approx(value, abs=1e-8)
        reached = oracle.wasserstein_distance(law, found.worst_case[i], distance**order, order=order)
        assert reached == pytest.approx(radius, rel=1e-6)


def test_fit_is_the_minimum_of_the_worst_case(space):
    """A third road: Nelder and Mead on the worst case itself."""
    v, p, distance = space
    found = fit_finite(v, p, distance, radius=0.08, beta=BETA)

    def robust(theta):
        return float(
            wasserstein_worst_case(np.logaddexp(0, -BETA * v @ theta), p, distance, radius=0.08).value
        )

    assert robust(found.theta[0]) == pytest.approx(found.value[0], abs=1e-12)
    slow = minimize(
        robust, found.theta[0] + 0.05, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13}
    )
    assert found.value[0] <= slow.fun + 1e-12
    assert slow.fun == pytest.approx(found.value[0], abs=1e-6)


def test_collapse_threshold_by_a_second_program_and_both_sides(space):
    v, p, distance = space
    for order in (1, 2):
        cost = distance**order
        threshold = wasserstein_collapse_radius(v, p, cost, order=order)[0]
        assert threshold == pytest.approx(
            oracle.wasserstein_collapse_radius(v, p, cost, order=order), rel=1e-9
        )
        below, above = (
            fit_finite(v, p[None], cost, radius=s * threshold, beta=BETA, order=order) for s in (0.999, 1.001)
        )
        assert below.status.tolist() == ["certified"]
        assert np.abs(below.theta).max() > 1e-4
        assert above.status.tolist() == ["collapsed"]
        assert (above.theta == 0).all()
        assert above.value[0] == np.log(2)
        np.testing.assert_allclose(above.worst_case @ v, 0, atol=1e-4)
    assert np.isinf(wasserstein_collapse_radius(np.abs(v[:, :1]), p, distance))[0]


def test_one_law_above_its_threshold_is_told(space):
    v, p, distance = space
    with pytest.warns(CollapseWarning, match=r"collapse radius 0\.\d+"):
        fit_finite(v, p, distance, radius=1.0, beta=BETA)


@pytest.mark.parametrize("broken", ["_generate", "_generate and its cautious form"])
def test_what_one_method_leaves_the_next_solves(space, monkeypatch, broken):
    """The chain: interior point, shorter steps, cutting planes; each certified by the same two numbers."""
    v, p, distance = space
    expected = fit_finite(v, p, distance, radius=0.05, beta=BETA)
    solve = interior.solve

    def fails(pieces, cone, *, tolerance=1e-12, cautious=False):
        found = solve(pieces, cone, cautious=cautious)
        if cautious and broken == "_generate":
            return found
        return interior.Point(
            found.theta + 0.1, found.lam, found.shares * 0 + 1 / found.shares.shape[2], found.gap
        )

    monkeypatch.setattr(interior, "solve", fails)
    found = fit_finite(v, p, distance, radius=0.05, beta=BETA)
    assert found.status.tolist() == ["certified"]
    np.testing.assert_allclose(found.theta, expected.theta, atol=1e-3 if "cautious" in broken else 1e-6)
    assert found.value[0] == pytest.approx(expected.value[0], abs=1e-9)


def test_an_uncertified_number_is_not_returned(space, monkeypatch):
    v, p, distance = space
    monkeypatch.setattr(wasserstein_finite, "least_loss", lambda x, law, start: np.full(len(law), -np.inf))
    monkeypatch.setattr(wasserstein_finite, "_ROUNDS", 1)
    found = fit_finite(v, p, distance, radius=0.1, beta=BETA)
    assert found.status.tolist() == ["failed"]
    assert np.isnan(found.theta).all()
    assert not found.solved.any()
    # A lower bound above the value proves nothing either.
    wrong = finished(np.zeros((1, 1)), np.array([0.2]), np.array([0.3]), np.zeros(1), np.zeros((1, 1)))
    assert wrong.status.tolist() == ["failed"]


def test_a_wrong_solution_has_a_large_gap(space):
    """Negative control of the certificate: theta off by a per cent, law of another radius."""
    v, p, distance = space
    found = fit_finite(v, p, distance, radius=0.05, beta=BETA)
    losses = np.logaddexp(0, -BETA * v @ (1.01 * found.theta[0]))
    assert wasserstein_worst_case(losses, p, distance, radius=0.05).value - found.dual_value[0] > 1e-7
    other = fit_finite(v, p, distance, radius=0.049, beta=BETA)
    assert found.value[0] - other.dual_value[0] > 1e-5


def test_thousands_of_atoms_by_generation():
    instance = log_linear_bradley_terry(np.random.default_rng(0), 12, 12, 3, norm=2.5, beta=1.0)
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    pair = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    distance = np.linalg.norm(pair[:, None] - pair, axis=2)
    found = fit_finite(psi[law.chosen] - psi[law.rejected], law.weights, distance, radius=0.05)
    assert len(distance) == 1584
    assert found.status.tolist() == ["certified"]


def test_triangle_inequality_is_reported(space):
    _, _, distance = space
    assert triangle_excess(distance) < 1e-12
    assert triangle_excess(distance**2) > 0.1
    assert triangle_excess(distance**2, order=2) < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "radius must be"),
        ({"radius": -1.0}, "holds the law itself"),
        ({"radius": np.inf}, "radius must be"),
        ({"order": 0.5}, "order must be"),
        ({"cost": [[0.0, -1.0], [-1.0, 0.0]]}, "non-negative"),
        ({"cost": [[0.0, 1.0], [2.0, 0.0]]}, "symmetric"),
        ({"cost": [[0.1, 1.0], [1.0, 0.0]]}, "itself is not 0"),
        ({"cost": [[0.0, np.nan], [1.0, 0.0]]}, "finite"),
        ({"cost": [[0.0]]}, "each pair of the 2 atoms"),
        ({"p": [0.5, 0.6]}, "sum to 1"),
        ({"p": [1.5, -0.5]}, "non-negative"),
        ({"p": [1.0]}, "one probability for each row"),
        ({"v": [[1.0], [2.0]]}, "non-negative margin"),
        ({"beta": 0.0}, "beta must be"),
    ],
)
def test_bad_input(change, message):
    given = {
        "v": [[1.0], [-1.0]],
        "p": [0.9, 0.1],
        "cost": [[0.0, 1.0], [1.0, 0.0]],
        "radius": 0.1,
        "order": 1.0,
        "beta": 1.0,
    } | change
    v, p, cost = given.pop("v"), given.pop("p"), given.pop("cost")
    with pytest.raises(InputError, match=message):
        fit_finite(v, p, cost, **given)
