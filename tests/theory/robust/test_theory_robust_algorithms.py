"""Micro-batch laws against enumeration of all batches, gaps against exact worst cases, optima against
minimisation.
"""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from distalign.checks import InputError
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import wasserstein_euclidean
from distalign.solvers.robust.kl_fit import fit_kl_temperature
from distalign.theory.robust import algorithms as theory
from distalign.theory.robust.kldpo import shrinkage_factor

LOSSES, LAW = np.array([0.1, 0.4, 0.9, 2.0]), np.array([0.4, 0.3, 0.2, 0.1])


@pytest.fixture(scope="module")
def instance():
    drawn = log_linear_bradley_terry(np.random.default_rng(5), 2, 3, 2, norm=2.0, beta=1.0)
    law, psi = drawn.population.pairs(distinct=True), drawn.features.reshape(-1, 2)
    return psi[law.chosen] - psi[law.rejected], law.weights, drawn


def enumerated(weight, batch):
    """(m,) expected weight of the first pair of a batch, over all batches of the other pairs."""
    out = np.zeros(len(LOSSES))
    for i in range(len(LOSSES)):
        for others in itertools.product(range(len(LOSSES)), repeat=batch - 1):
            out[i] += LAW[list(others)].prod() * weight(LOSSES[[i, *others]])
    return out


def released(tau, clamp=np.inf):
    return lambda losses: min(np.exp((losses[0] - losses.mean()) / tau), clamp)


def normalised(tau):
    return lambda losses: len(losses) * np.exp(losses[0] / tau) / np.exp(losses / tau).sum()


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_weights_of_a_batch(batch, tau):
    np.testing.assert_allclose(
        theory.softmax_weights(LOSSES, LAW, tau, batch), enumerated(normalised(tau), batch), rtol=1e-12
    )
    np.testing.assert_allclose(
        theory.clamped_weights(LOSSES, LAW, tau, batch, 1.5), enumerated(released(tau, 1.5), batch), rtol=1e-4
    )
    weights = enumerated(released(tau), batch)
    assert theory.mean_weight(LOSSES, LAW, tau, batch) == pytest.approx(LAW @ weights, rel=1e-12)
    tilt = np.exp(LOSSES / theory.batch_temperature(tau, batch))
    np.testing.assert_allclose(weights / (LAW @ weights), tilt / (LAW @ tilt), rtol=1e-12)


def test_a_wrong_batch_is_seen():
    wrong = theory.softmax_weights(LOSSES, LAW, 1.0, 3)
    assert np.abs(wrong - enumerated(normalised(1.0), 2)).max() > 0.01
    assert (
        np.abs(theory.clamped_weights(LOSSES, LAW, 1.0, 2, 1e9) - enumerated(released(1.0, 1.5), 2)).max()
        > 0.01
    )


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_shrinkage_of_a_batch_is_that_of_its_temperature(batch):
    temperature = theory.batch_temperature(0.3, batch)
    exact = 1.0 if np.isinf(temperature) else shrinkage_factor(temperature)
    assert theory.batch_shrinkage(0.3, batch) == pytest.approx(exact, rel=1e-14)


def test_mean_weight_is_at_least_one_and_unbounded():
    assert all(
        theory.mean_weight(LOSSES, LAW, tau, b) > 1 - 1e-12 for tau in (0.05, 1.0, 20.0) for b in (1, 2, 100)
    )
    assert theory.mean_weight(LOSSES, LAW, 0.05, 1000) > 1e6


@pytest.mark.parametrize("radius", [1e-3, 1e-2])
def test_gaps_of_the_penalties(instance, radius):
    v, p, drawn = instance
    theta = 0.7 * drawn.theta_star
    margins, size = v @ theta, np.linalg.norm(theta)
    norms = size / (1 + np.exp(margins))
    plain = p @ np.logaddexp(0, -margins)
    root = (
        wasserstein_euclidean.robust_loss(theta, v, p, radius=radius)[0]
        - plain
        - radius * np.sqrt(p @ norms**2)
    )
    squared = (
        wasserstein_euclidean.penalised_robust_loss(theta, v, p, eta=1 / (4 * radius))[0]
        - plain
        - radius * p @ norms**2
    )
    assert root / radius**2 == pytest.approx(theory.root_gap(margins, p, size), rel=10 * radius)
    assert squared / radius**2 == pytest.approx(theory.squared_gap(margins, p, size), rel=10 * radius)
    assert root / radius**2 != pytest.approx(theory.root_gap(margins, p, 1.1 * size), rel=10 * radius)


@pytest.mark.parametrize("tau", [np.inf, 1.0])
def test_excess_loss_of_many_samples(instance, tau):
    v, p, drawn = instance
    n, replicates = 20_000, 2000
    sample = (
        drawn.population.sample_pairs(
            n, np.random.default_rng(0), replicates=replicates, distinct=True
        ).weights
        / n
    )
    theta = fit_kl_temperature(v, sample, temperature=tau).theta
    excess = (np.logaddexp(0, -theta @ v.T) - np.logaddexp(0, -v @ drawn.theta_star)) @ p
    predicted = float(theory.excess_loss(v, p, drawn.theta_star, tau, n))
    assert abs(excess.mean() - predicted) < 4 * excess.std() / np.sqrt(replicates)
    assert abs(excess.mean() - 1.2 * predicted) > 4 * excess.std() / np.sqrt(replicates)


def test_shrinking_is_never_the_noisier_way(instance):
    v, p, drawn = instance
    assert all(
        theory.least_variance_ratio(v, p, drawn.theta_star, tau) >= 1 - 1e-12
        for tau in (0.1, 1.0, 5.0, np.inf)
    )
    worse = np.r_[p[:3] * 0.2, p[3:]]  # not the law that theta_star fits: no theorem
    assert theory.least_variance_ratio(v, worse / worse.sum(), 5 * drawn.theta_star, 1.0) < 0.999


PAIR = {
    "DPO": (np.nan, lambda t, p: p * np.logaddexp(0, -t) + (1 - p) * np.logaddexp(0, t)),
    "cDPO": (0.1, lambda t, p: (0.8 * p + 0.1) * np.logaddexp(0, -t) + (0.9 - 0.8 * p) * np.logaddexp(0, t)),
    "rDPO": (0.1, lambda t, p: (p - 0.1) / 0.8 * np.logaddexp(0, -t) + (0.9 - p) / 0.8 * np.logaddexp(0, t)),
    "KLDPO": (0.5, lambda t, p: p * (1 + np.exp(-t)) ** 2 + (1 - p) * (1 + np.exp(t)) ** 2),
    "Dr. DPO": (2.0, lambda t, p: -p * (1 + np.exp(-t)) ** -0.5 - (1 - p) * (1 + np.exp(t)) ** -0.5),
    "IPO": (np.nan, lambda t, p: p * (t - 0.5) ** 2 + (1 - p) * (t + 0.5) ** 2),
}


@pytest.mark.parametrize("method", PAIR)
def test_optimum_of_one_pair(method):
    setting, loss = PAIR[method]
    for p in (0.3, 0.55, 0.8):
        found = minimize_scalar(
            lambda t, p=p: loss(t, p), bounds=(-8, 8), method="bounded", options={"xatol": 1e-10}
        ).x
        assert float(theory.pair_optimum(method, p, setting)) == pytest.approx(found, abs=1e-5)


def test_optima_at_the_ends():
    assert theory.pair_optimum("rDPO", [0.05, 0.95], 0.1).tolist() == [-np.inf, np.inf]
    with pytest.raises(InputError, match="method must be one of"):
        theory.pair_optimum("SFT", 0.5)
