"""Shrinkage against direct minimisation, sandwich covariances against influence functions computed from the
solver.
"""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit

from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.collapse import collapse_radius
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature
from distalign.theory.robust import kldpo as robust


@pytest.fixture(scope="module")
def instance():
    drawn = log_linear_bradley_terry(np.random.default_rng(5), 2, 3, 2, norm=2.0, beta=0.8)
    law = drawn.population.pairs(distinct=True)
    psi = drawn.features.reshape(-1, 2)
    return psi[law.chosen] - psi[law.rejected], law.weights, drawn.theta_star


@pytest.mark.parametrize("tau", [0.2, 1.0, 4.0])
def test_shrinkage_of_one_pair(tau):
    true_logit = 1.7

    def loss(t):
        return np.log(
            expit(true_logit) * (1 + np.exp(-t)) ** (1 / tau)
            + expit(-true_logit) * (1 + np.exp(t)) ** (1 / tau)
        )

    found = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    assert found == pytest.approx(robust.shrinkage_factor(tau) * true_logit, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.5, 4.0])
def test_anti_shrinkage_of_one_pair(temperature):
    true_logit = 0.9

    def loss(t):
        return -np.log(
            expit(true_logit) * expit(t) ** (1 / temperature)
            + expit(-true_logit) * expit(-t) ** (1 / temperature)
        )

    found = minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10}).x
    assert found == pytest.approx(robust.anti_shrinkage_factor(temperature) * true_logit, abs=1e-5)
    assert robust.anti_shrinkage_factor(1.0) == np.inf


@pytest.mark.parametrize("share", [1e-4, 0.1, 0.5, 0.95])
def test_ball_temperature_is_the_solvers_multiplier(instance, share):
    v, p, star = instance
    radius = share * float(collapse_radius(v, p)[0])
    fit = fit_kl_ball(v, p, radius=radius, beta=0.8)
    tau = robust.ball_temperature(v, p, star, radius, beta=0.8)
    assert fit.multiplier[0] == pytest.approx(tau, rel=1e-6)
    np.testing.assert_allclose(fit.theta[0], robust.shrinkage_factor(tau) * star, rtol=1e-7)


def influence_covariance(solve, p, step=1e-6):
    """sum_i p_i IF_i IF_i^T with the influence of atom i by central differences of the fitted parameter."""
    mixtures = np.concatenate([(1 - s) * p + s * np.eye(len(p)) for s in (step, -step)])
    theta = solve(mixtures)
    influence = (theta[: len(p)] - theta[len(p) :]) / (2 * step)
    return influence.T @ (p[:, None] * influence)


def test_ball_covariance_is_that_of_the_influence_function(instance):
    v, p, star = instance
    radius = 0.3 * float(collapse_radius(v, p)[0])
    tau = robust.ball_temperature(v, p, star, radius, beta=0.8)
    theta = robust.shrinkage_factor(tau) * star
    expected = influence_covariance(lambda laws: fit_kl_ball(v, laws, radius=radius, beta=0.8).theta, p)
    found = robust.ball_covariance(v, p, theta, tau, beta=0.8)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    fixed = robust.temperature_covariance(v, p, theta, tau, beta=0.8)
    assert np.abs(fixed / found - 1).max() > 0.02  # the estimated multiplier matters


@pytest.mark.parametrize("tau", [0.5, np.inf])
def test_temperature_covariance_is_that_of_the_influence_function(instance, tau):
    v, p, star = instance
    theta = star if tau == np.inf else robust.shrinkage_factor(tau) * star
    expected = influence_covariance(
        lambda laws: fit_kl_temperature(v, laws, temperature=tau, beta=0.8).theta, p
    )
    np.testing.assert_allclose(robust.temperature_covariance(v, p, theta, tau, beta=0.8), expected, rtol=1e-5)


def test_small_radius_expansion(instance):
    v, p, star = instance
    radius = 1e-6
    variance = np.cov(np.logaddexp(0, -0.8 * v @ star), aweights=p, ddof=0)
    shrunk = 1 - robust.shrinkage_factor(robust.ball_temperature(v, p, star, radius, beta=0.8))
    assert shrunk == pytest.approx(np.sqrt(2 * radius / variance), rel=2e-3)


def test_bound_of_the_paper_halves_its_exponent_for_the_norm():
    settings = {"beta": 0.1, "norm": 1.0, "coverage": 0.1, "multiplier_low": 1.0, "multiplier_high": 2.0}
    norms = [np.sqrt(robust.squared_error_bound(n, **settings)) for n in (1e4, 1e8)]
    assert np.log(norms[1] / norms[0]) / np.log(1e4) == pytest.approx(robust.GUARANTEED_EXPONENT)
    gamma, largest = 0.01 * expit(0.4) * expit(-0.4), np.log1p(np.exp(0.4))
    squared = np.sqrt(8 * 4 * np.exp(2 * largest) * np.log(2 / 0.05) / (gamma**2 * 0.01 * 1e4))
    assert norms[0] ** 2 == pytest.approx(squared)
