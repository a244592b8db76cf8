"""W1 balls on R^d with and without label flips, against cvxpy, closed forms and limits."""

import numpy as np
import pytest

from distalign import InputError
from distalign.oracles import wasserstein as oracle
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import interior
from distalign.solvers.robust.collapse import CollapseWarning, euclidean_collapse_radius
from distalign.solvers.robust.wasserstein_norm import fit_norm, fit_norm_with_flips

BETA = 0.7


@pytest.fixture(scope="module")
def laws():
    instance = log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=BETA)
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    sample = np.random.default_rng(1).multinomial(300, law.weights, 2) / 300
    return psi[law.chosen] - psi[law.rejected], sample


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
@pytest.mark.parametrize("flip_cost", [np.inf, 1.0, 0.3])
def test_fit_is_the_conic_program(laws, norm, flip_cost):
    v, sample = laws
    found = fit_norm_with_flips(v, sample, radius=0.03, flip_cost=flip_cost, beta=BETA, norm=norm)
    assert found.solved.all()
    assert (np.abs(found.gap) < 1e-11).all()
    for i, law in enumerate(sample):
        theta, value, _ = oracle.wasserstein_norm_fit(
            v, law, radius=0.03, beta=BETA, norm=norm, flip_cost=flip_cost
        )
        np.testing.assert_allclose(found.theta[i], theta, atol=1e-5)
        assert found.value[i] == pytest.approx(value, abs=1e-8)


def test_worst_law_is_a_limit(laws):
    """A small share of the mass sent far along the direction spends the radius and nearly reaches the
    value.
    """
    v, sample = laws
    found = fit_norm(v, sample, radius=0.05, beta=BETA)
    np.testing.assert_allclose(np.linalg.norm(found.worst_case, axis=1), 1)
    near = np.logaddexp(0, -BETA * found.theta @ v.T)
    for share, error in ((1e-2, 2e-2), (1e-6, 2e-6)):
        far = v + 0.05 / share * found.worst_case[:, None]
        moved = np.logaddexp(0, -BETA * np.einsum("rmd,rd->rm", far, found.theta))
        reached = (sample * ((1 - share) * near + share * moved)).sum(1)
        np.testing.assert_allclose(reached, found.value, atol=error)
        assert (reached <= found.value + 1e-12).all()


def test_flips_grow_dearer_until_they_stop(laws):
    v, sample = laws
    values = [
        fit_norm_with_flips(v, sample, radius=0.03, flip_cost=k, beta=BETA).value
        for k in (0.2, 0.5, 1.0, 3.0)
    ]
    plain = fit_norm(v, sample, radius=0.03, beta=BETA)
    assert (np.diff(values, axis=0) <= 1e-11).all()
    np.testing.assert_allclose(values[-1], plain.value, atol=1e-11)  # |v| <= 2: no flip is worth 3
    assert (values[0] > plain.value + 1e-3).all()


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_collapse_at_half_a_mean_shift(laws, norm):
    v, sample = laws
    threshold = euclidean_collapse_radius(v, sample, order=1, norm=norm)[0]
    below, above = (
        fit_norm(v, sample[:1], radius=s * threshold, beta=BETA, norm=norm) for s in (0.999, 1.001)
    )
    assert below.status.tolist() == ["certified"]
    assert np.abs(below.theta).max() > 1e-5
    assert above.status.tolist() == ["collapsed"]
    with pytest.warns(CollapseWarning, match="collapse radius"):
        fit_norm(v, sample[0], radius=2 * threshold, beta=BETA, norm=norm)


def test_beta_scales_theta(laws):
    v, sample = laws
    one, two = (fit_norm_with_flips(v, sample, radius=0.02, flip_cost=0.8, beta=b).theta for b in (1.0, 2.0))
    np.testing.assert_allclose(one, 2 * two, atol=1e-6)


def test_a_wrong_solution_is_not_certified(laws, monkeypatch):
    v, sample = laws
    solve = interior.solve

    def biased(*args, **settings):
        found = solve(*args, **settings)
        return interior.Point(1.01 * found.theta, 1.01 * found.lam, found.shares, found.gap)

    monkeypatch.setattr(interior, "solve", biased)
    for found in (
        fit_norm(v, sample, radius=0.03),
        fit_norm_with_flips(v, sample, radius=0.03, flip_cost=0.5),
    ):
        assert found.status.tolist() == ["failed"] * 2
        assert np.isnan(found.theta).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "radius must be"),
        ({"flip_cost": 0.0}, "flip_cost must be"),
        ({"norm": "l3"}, "norm must be one of"),
        ({"beta": -1.0}, "beta must be"),
    ],
)
def test_bad_input(change, message):
    given = {"radius": 0.1, "flip_cost": 1.0, "norm": "l2", "beta": 1.0} | change
    with pytest.raises(InputError, match=message):
        fit_norm_with_flips([[1.0], [-1.0]], [0.9, 0.1], **given)
    with pytest.raises(InputError, match="at most 12 dimensions"):
        fit_norm(np.ones((1, 13)), [1.0], radius=0.1, norm="linf")
