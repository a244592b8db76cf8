"""Interior-point methods arrive by their own steps.

A wrong direction is hidden by the certificate, which hands what is not solved to a slower method: it shows in
the number of steps alone.
"""

import numpy as np
import pytest
from scipy.special import expit

from distalign.solvers.robust import interior, wasserstein_finite, wasserstein_replicates


@pytest.fixture(scope="module")
def problem():
    """Atoms x with their distances and laws of different difficulty."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 2))
    x = np.concatenate([x, -x])
    laws = rng.dirichlet(np.full(12, 0.5), 8)
    return x, laws, np.linalg.norm(x[:, None] - x, axis=-1)


ROWS = np.array([[1.0, 0.5], [-1.0, 0.2], [0, -1]])


@pytest.mark.parametrize(
    ("cone", "steps"), [(interior.price, 39), (interior.euclidean, 49), (interior.polyhedral(ROWS), 36)]
)
def test_central_path_ends_where_the_optimality_conditions_hold(problem, cone, steps):
    """Stationarity in theta and in the price with multipliers found by least squares; every iterate inside,
    and no tenth more steps than today.
    """
    x, laws, cost = problem
    moves = np.broadcast_to(np.arange(12), (8, 12, 12))
    pieces = interior.Pieces(
        x[moves], np.broadcast_to(cost, (8, 12, 12)), np.ones((8, 12, 12), bool), laws, budget := 0.1
    )
    iterates = []

    def watched(theta, lam, y):
        found = cone(theta, lam, y)
        if y.any():
            iterates.append(found[0])
        return found

    found = interior.solve(pieces, watched)
    assert found.gap.max() < 1e-12
    assert all((h < 0).all() for h in iterates)
    assert len(iterates) <= 1.1 * steps
    np.testing.assert_allclose(found.shares.sum(2), 1, atol=1e-9)
    h, gradient, _ = cone(found.theta, found.lam, np.zeros_like(iterates[0]))
    wrong = expit(-found.theta @ x.T)
    mass = laws[..., None] * found.shares
    slope = np.concatenate(
        [-(mass.sum(1) * wrong) @ x, (budget - (mass * cost).sum((1, 2)))[:, None]], axis=1
    )
    for row in range(8):
        active = h[row] > -1e-6
        normals = gradient[row][active].T
        y = np.linalg.lstsq(normals, -slope[row], rcond=None)[0] if active.any() else np.zeros(0)
        assert (y > -1e-6).all()
        np.testing.assert_allclose(slope[row] + normals @ y, 0, atol=1e-7)


def test_first_attempt_of_the_general_solver_certifies_every_law(problem, monkeypatch):
    x, laws, cost = problem
    monkeypatch.setattr(wasserstein_finite, "_cutting_planes", None)
    cautious = []
    solve = interior.solve

    def counted(pieces, cone, **options):
        cautious.append(options.get("cautious", False))
        return solve(pieces, cone, **options)

    monkeypatch.setattr(interior, "solve", counted)
    found = wasserstein_finite.fit_finite(x, laws, cost, radius=0.1)
    assert found.solved.all()
    assert cautious == [False, False]


def test_method_for_many_laws_needs_neither_the_general_solver_nor_many_steps(problem, monkeypatch):
    x, laws, cost = problem
    steps = []
    advance = wasserstein_replicates._advance

    def counted(*arguments):
        steps.append(len(arguments[0].theta))
        return advance(*arguments)

    monkeypatch.setattr(wasserstein_replicates, "_advance", counted)
    monkeypatch.setattr(wasserstein_finite, "fit_finite", None)
    for radius in (0.01, 0.1):
        assert wasserstein_replicates.fit_replicates(x, laws, cost, radius=radius).solved.all()
    assert len(steps) <= 1.1 * 38
