"""Robust fits against cone programs, the torch objective's own gradient, shrinkage, collapse and data without
an optimum.
"""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from distalign import InputError
from distalign.objectives import dpo, kldpo
from distalign.oracles.ambiguity import kl_ball_fit, kl_penalised_fit
from distalign.policies import LogLinear, score
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.fit import fit
from distalign.solvers.robust.collapse import CollapseWarning, collapse_radius
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature

BETA = 0.6


@pytest.fixture(scope="module")
def instance():
    return log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=BETA)


@pytest.fixture(scope="module")
def sample(instance):
    return instance.population.sample_pairs(400, np.random.default_rng(1), replicates=6, distinct=True)


def differences(instance, law):
    psi = instance.features.reshape(-1, 3)
    return psi[law.chosen] - psi[law.rejected]


def torch_gradient(instance, law, weights, theta, objective):
    at = torch.from_numpy(theta.copy()).requires_grad_()
    policy = LogLinear(instance.features, instance.population.reference)
    batch = score(
        policy, at, torch.from_numpy(law.chosen), torch.from_numpy(law.rejected), torch.from_numpy(weights)
    )
    return float(torch.autograd.grad(objective(batch), at)[0].abs().max())


@pytest.mark.parametrize("radius", [1e-4, 0.02, 0.05])
def test_ball_against_the_cone_program_and_the_objective(instance, sample, radius):
    v, laws = differences(instance, sample), sample.weights / 400
    found = fit_kl_ball(v, laws, radius=radius, beta=BETA)
    assert found.solved.all()
    np.testing.assert_allclose(found.dual, found.primal, atol=1e-12)
    for i, law in enumerate(laws):
        theta, value = kl_ball_fit(v, law, beta=BETA, radius=radius)
        np.testing.assert_allclose(found.theta[i], theta, atol=1e-6)
        assert found.dual[i] == pytest.approx(value, abs=1e-8)
        assert (
            torch_gradient(instance, sample, law, found.theta[i], partial(kldpo, beta=BETA, radius=radius))
            < 1e-9
        )


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_temperature_against_the_cone_program_and_the_objective(instance, sample, temperature):
    v, laws = differences(instance, sample), sample.weights / 400
    found = fit_kl_temperature(v, laws, temperature=temperature, beta=BETA)
    assert found.solved.all()
    np.testing.assert_allclose(found.dual, found.primal, atol=1e-12)
    for i, law in enumerate(laws):
        theta, value = kl_penalised_fit(v, law, beta=BETA, temperature=temperature)
        np.testing.assert_allclose(found.theta[i], theta, atol=1e-6)
        assert found.dual[i] == pytest.approx(value, abs=1e-8)
        objective = partial(kldpo, beta=BETA, temperature=temperature)
        assert torch_gradient(instance, sample, law, found.theta[i], objective) < 1e-12
    assert torch_gradient(instance, sample, laws[0], found.theta[0], partial(dpo, beta=BETA)) > 1e-3


def test_infinite_temperature_is_dpo(instance, sample):
    v, laws = differences(instance, sample), sample.weights / 400
    other = fit(LogLinear(instance.features, instance.population.reference), partial(dpo, beta=BETA), sample)
    np.testing.assert_allclose(
        fit_kl_temperature(v, laws, temperature=np.inf, beta=BETA).theta, other.theta, atol=1e-8
    )


def test_population_optimum_is_shrunk_by_its_multiplier(instance):
    law = instance.population.pairs(distinct=True)
    v = differences(instance, law)
    for share in (1e-3, 0.3, 0.9, 0.999):
        found = fit_kl_ball(
            v, law.weights, radius=share * float(collapse_radius(v, law.weights)[0]), beta=BETA
        )
        lam = found.multiplier[0]
        assert found.solved[0]
        np.testing.assert_allclose(found.theta[0], lam / (1 + lam) * instance.theta_star, rtol=1e-6)


def test_scipy_one_replicate_at_a_time(instance, sample):
    v, laws = differences(instance, sample), sample.weights / 400

    def robust(theta, p):
        return float(kl_worst_case(np.logaddexp(0, -BETA * v @ theta), p, 0.04).value)

    found = fit_kl_ball(v, laws, radius=0.04, beta=BETA)
    for i in range(2):
        slow = minimize(
            robust,
            np.array([0.1, 0.1, 0.1]),
            args=(laws[i],),
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-13, "maxiter": 4000},
        )
        np.testing.assert_allclose(found.theta[i], slow.x, atol=1e-5)


def test_collapse_is_exact_above_the_radius_and_not_below(instance):
    law = instance.population.pairs(distinct=True)
    v = differences(instance, law)
    critical = float(collapse_radius(v, law.weights)[0])
    above, below = (fit_kl_ball(v, law.weights[None], radius=critical * s, beta=BETA) for s in (1.001, 0.999))
    with pytest.warns(CollapseWarning, match=f"collapse radius {critical:.6g}"):
        fit_kl_ball(v, law.weights, radius=critical * 1.001, beta=BETA)
    assert above.collapsed[0]
    assert above.solved[0]
    assert (above.theta == 0).all()
    assert above.dual[0] == pytest.approx(np.log(2))
    assert not below.collapsed[0]
    assert np.linalg.norm(below.theta) > 1e-4
    # Sufficiency by hand: no direction leads below log 2 under the worst law above the radius.
    directions = np.random.default_rng(0).normal(size=(500, 3)) * 1e-3
    losses = np.logaddexp(0, -directions @ v.T)
    assert kl_worst_case(losses, law.weights, critical * 1.001).value.min() >= np.log(2) - 1e-12
    assert kl_worst_case(losses, law.weights, critical * 0.5).value.min() < np.log(2)


def test_separable_data_have_no_finite_optimum_and_are_reported():
    v = np.array([[1.0, 0.2], [0.8, -0.5], [-1.0, -0.2]])
    laws = np.array([[0.5, 0.5, 0.0], [0.5, 0.3, 0.2]])
    assert np.isinf(collapse_radius(v, laws)[0])
    found = fit_kl_ball(v[:, :1], laws, radius=0.01)
    assert found.solved.tolist() == [False, True]
    assert fit_kl_temperature(v[:, :1], laws, temperature=1.0).solved.tolist() == [False, True]


def test_beta_is_the_scale_of_theta(instance, sample):
    v, laws = differences(instance, sample), sample.weights / 400
    one, two = (fit_kl_ball(v, laws, radius=0.03, beta=b).theta for b in (1.0, 2.0))
    np.testing.assert_allclose(one, 2 * two, rtol=1e-8)


def test_bad_input():
    with pytest.raises(InputError, match="one probability for each row"):
        fit_kl_ball([[1.0]], [0.5, 0.5], radius=0.1)
    with pytest.raises(InputError, match="beta must be"):
        fit_kl_ball([[1.0]], [1.0], radius=0.1, beta=0.0)
    with pytest.raises(InputError, match="radius must be"):
        fit_kl_ball([[1.0]], [1.0], radius=-0.1)
    with pytest.raises(InputError, match="temperature must be"):
        fit_kl_temperature([[1.0]], [1.0], temperature=0.0)


@pytest.mark.parametrize("radius", [3e-6, 3e-7, 3e-8])
def test_tiny_radii_are_solved(radius):
    """The value of a tiny ball is of second order in its tilt: rounded to the first, no step would seem to
    improve it.
    """
    drawn = log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=1.0)
    psi, laws = drawn.features.reshape(-1, 3), drawn.population.pairs(distinct=True)
    v, n = psi[laws.chosen] - psi[laws.rejected], int(3 / radius)
    p = np.random.default_rng(1).multinomial(n, laws.weights, 100) / n
    found = fit_kl_ball(v, p, radius=radius)
    assert found.solved.all()
    assert found.gradient.max() < 1e-10
    first = np.abs(found.theta - fit_kl_temperature(v, p, temperature=np.inf).theta).max() / np.sqrt(radius)
    assert 3 < first < 30  # the drift of order radius^(1/2)


def drawn(rng):
    """A random instance: features of any size, several laws, a radius from tiny to beyond collapse."""
    atoms, d = rng.integers(2, 30), rng.integers(1, 5)
    v = rng.normal(size=(atoms, d)) * 10 ** rng.uniform(-2, 1)
    laws = rng.dirichlet(np.full(atoms, 10 ** rng.uniform(-1, 1)), rng.integers(1, 5))
    return v, laws, 10 ** rng.uniform(-7, 0.5)


@pytest.mark.filterwarnings("ignore::distalign.solvers.robust.collapse.CollapseWarning")
def test_both_roads_to_a_ball_agree(monkeypatch):
    rng = np.random.default_rng(0)
    cases = [drawn(rng) for _ in range(60)]
    quick = [fit_kl_ball(v, p, radius=r) for v, p, r in cases]
    monkeypatch.setattr(
        "distalign.solvers.robust.kl_fit._joint_newton",
        lambda x, laws, radius: (
            np.zeros((len(laws), x.shape[1])),
            np.zeros(len(laws)),
            np.zeros(len(laws), bool),
        ),
    )
    collapsed = 0
    for (v, p, r), fit_ in zip(cases, quick, strict=True):
        slow = fit_kl_ball(v, p, radius=r)
        np.testing.assert_array_equal(fit_.collapsed, slow.collapsed)
        np.testing.assert_array_equal(fit_.solved, slow.solved)
        on = slow.solved
        np.testing.assert_allclose(fit_.dual[on], slow.dual[on], rtol=0, atol=1e-9)
        np.testing.assert_allclose(fit_.theta[on], slow.theta[on], rtol=1e-5, atol=1e-5)
        collapsed += slow.collapsed.sum()
    assert 0 < collapsed < sum(len(p) for _, p, _ in cases)


def test_fits_of_one_law_start_at_their_mean_and_agree_with_fits_alone():
    rng = np.random.default_rng(1)
    for temperature in (0.05, 0.3, 10.0, np.inf):
        v, _, _ = drawn(rng)
        laws = rng.dirichlet(np.ones(len(v)), 7)
        laws[3] = np.eye(len(v))[0]  # separable: no minimiser, whatever the others are
        together = fit_kl_temperature(v, laws, temperature=temperature)
        alone = [fit_kl_temperature(v, law, temperature=temperature) for law in laws]
        np.testing.assert_array_equal(together.solved, [a.solved[0] for a in alone])
        for i in np.flatnonzero(together.solved):
            np.testing.assert_allclose(together.theta[i], alone[i].theta[0], rtol=1e-6, atol=1e-7)
