"""What policy gradient pays in texts: moments by enumeration, curvature by autograd, decay by iteration."""

from itertools import product

import numpy as np
import pytest
import torch

from distalign.divergences import divergence
from distalign.policy_gradient import rlhf
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo import sampled_texts as theory

POLICY = np.array([0.5, 0.3, 0.2])
REWARD, REF, BETA = np.array([0.8, -0.2, -0.6]), np.array([0.2, 0.5, 0.3]), 0.5
NAMES = ("reverse_kl", "forward_kl", "jensen_shannon")


def draws(law, texts):
    """Every list of texts with its chance."""
    for drawn in product(range(len(law)), repeat=texts):
        yield list(drawn), float(np.prod(law[list(drawn)]))


def optimum(name):
    best = regularised_policy(REWARD, REF, BETA, name).policy
    return best, np.broadcast_to(divergence(name).weight(np.log(best / REF)), 3)


@pytest.mark.parametrize("texts", [2, 3, 5])
def test_the_moment_of_the_sample_covariance_is_that_of_all_draws(texts):
    expected = np.zeros((9, 9))
    for drawn, chance in draws(POLICY, texts):
        sample = np.cov(np.eye(3)[drawn].T)
        expected += chance * np.kron(sample, sample)
    assert np.allclose(theory.covariance_moment(POLICY, texts), expected, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_recursion_is_the_average_of_updates_by_the_estimator_itself(name):
    """One update from a tiny displacement, over all draws, each by `rlhf`."""
    best, weight = optimum(name)
    delta, rate = 1e-5 * np.array([1.0, -3.0, 2.0]), 0.8
    log_policy = np.log(best) + delta
    log_policy -= np.logaddexp.reduce(log_policy)
    ratio = log_policy - np.log(REF)
    moment = np.zeros((3, 3))
    for drawn, chance in draws(np.exp(log_policy), 3):
        y = torch.tensor([drawn])
        found = rlhf(torch.from_numpy(REWARD)[y], torch.from_numpy(ratio)[y], beta=BETA, divergence=name)
        gradient = np.bincount(drawn, found.advantages[0].numpy(), 3) / 3
        after = delta + rate * gradient
        moment += chance * np.outer(after, after)
    expected = theory.second_moment(best, weight, BETA, rate, 3) @ np.outer(delta, delta).ravel()
    assert np.allclose(moment.ravel(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_excess_falls_by_the_decay_late(name):
    best, weight = optimum(name)
    setting = best, weight, BETA, 0.8, 4
    late = [theory.mean_excess([0.1, -0.3, 0.2], *setting, updates) for updates in (100, 101)]
    assert late[1] / late[0] == pytest.approx(theory.decay(*setting), rel=1e-3)
    for rate in (0.1, 1.0, 3.0, 10.0):
        decay = theory.decay(best, weight, BETA, rate, 4)
        assert decay >= (1 - best.min()) ** 4
        assert decay >= 1 or -4 / np.log(decay) >= theory.least_texts(best)


@pytest.mark.parametrize("name", NAMES)
def test_the_curvature_of_a_class_is_that_of_autograd(name):
    features = np.array([[1.0, 0.2], [-0.5, 0.4], [0.3, -1.0]])
    forms = {
        "reverse_kl": lambda u: u * u.log() - u + 1,
        "forward_kl": lambda u: u - 1 - u.log(),
        "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    }
    ref, reward, x = (torch.from_numpy(a) for a in (REF, REWARD, features))

    def value(theta):
        policy = (ref.log() + x @ theta).softmax(0)
        return policy @ reward - BETA * ref @ forms[name](policy / ref)

    theta = torch.tensor([0.4, -0.7], dtype=torch.float64)
    policy = (ref.log() + x @ theta).softmax(0).numpy()
    ratio = np.log(policy / REF)
    gain, weight = REWARD - BETA * divergence(name).link(ratio), divergence(name).weight(ratio)
    found = theory.class_curvature(features, policy, gain, np.broadcast_to(weight, 3), BETA)
    assert np.allclose(found, -torch.autograd.functional.hessian(value, theta).numpy(), atol=1e-12)


def test_the_stationary_excess_is_a_quarter_of_rate_times_noise_to_first_order():
    features, gain = np.array([[1.0], [0.0], [-1.0]]), np.array([0.3, -0.5, 0.1])
    x, g = features[:, 0] - POLICY @ features[:, 0], gain - POLICY @ gain
    gain = gain - (POLICY @ (x * g)) / (POLICY @ x**2) * x  # no mean gradient: the best of the class
    noise = 0.0
    for drawn, chance in draws(POLICY, 3):
        noise += chance * np.cov(features[drawn, 0], gain[drawn])[0, 1] ** 2
    found = theory.stationary_excess(features, POLICY, gain, [[0.7]], 1e-3, 3)
    assert found == pytest.approx(1e-3 * noise / 4, rel=1e-3)
