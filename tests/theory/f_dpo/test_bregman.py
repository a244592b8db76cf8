"""Bregman losses of the ratio: weights against autograd, limits by another road, what h costs."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from distalign.objectives import bpo
from distalign.populations import Population, win_matrix
from distalign.preferences import PreferenceLogProbs
from distalign.theory.f_dpo import asymptotics, bregman

POWER = 0.7
REWARD = np.array([0.9, 0.1, -0.4, -1.0])


def one_pair(generator, t):
    zero = torch.zeros(1, dtype=torch.float64)
    return bpo(PreferenceLogProbs(t[None], zero, zero, zero), beta=1.0, generator=generator, power=POWER)


def pairs_of(win):
    law, pairs = Population(win, np.full(4, 0.25)).pairs(distinct=True), np.zeros((4, 4))
    pairs[law.chosen, law.rejected] = law.weights / law.weights.sum()
    return pairs


@pytest.mark.parametrize("generator", bregman.GENERATORS)
@pytest.mark.parametrize("t", [-2.0, 0.0, 0.8])
def test_weight_is_the_slope_of_the_loss_over_that_of_dpo(generator, t):
    slopes = []
    for name in (generator, "logistic"):
        x = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        slopes.append(torch.autograd.grad(one_pair(name, x), x)[0].item())
    assert bregman.pair_weight(generator, np.array(t), POWER) == pytest.approx(slopes[0] / slopes[1])
    assert bregman.pair_weight(generator, np.array(-t), POWER) == pytest.approx(slopes[0] / slopes[1])


@pytest.mark.parametrize("generator", bregman.GENERATORS)
def test_divergence_is_0_at_the_data_only_and_curved_as_h(generator):
    h = partial(bregman.divergence, generator, power=POWER)
    assert float(h(np.array(1.7), np.array(1.7))) == pytest.approx(0, abs=1e-14)
    assert (h(np.array([0.2, 0.9, 4.0]), np.array(1.7)) > 0).all()


@pytest.mark.parametrize("generator", bregman.GENERATORS)
def test_covariance_is_that_of_the_score_over_the_slope_of_its_mean(generator):
    """The sandwich with derivatives by differences, of the loss of one comparison."""
    pairs, step = pairs_of(win_matrix(REWARD[None], [1.0], 1.0)), 1e-5
    i, j = np.nonzero(~np.eye(4, dtype=bool))

    def scores(reward):
        t = torch.tensor(reward[i] - reward[j], requires_grad=True)
        zero = torch.zeros_like(t)
        loss = bpo(PreferenceLogProbs(t, zero, zero, zero), beta=1.0, generator=generator, power=POWER)
        slope = torch.autograd.grad(loss * len(i), t)[0].numpy()
        return slope[:, None] * (np.eye(4)[i] - np.eye(4)[j])

    def mean(reward):
        return pairs[i, j] @ scores(reward)

    hessian = np.stack([(mean(REWARD + e) - mean(REWARD - e)) / (2 * step) for e in step * np.eye(4)])
    spread = (scores(REWARD).T * pairs[i, j]) @ scores(REWARD)
    inverse = np.linalg.pinv(hessian, rcond=1e-6)
    found = bregman.bregman_covariance(generator, pairs, POWER)
    np.testing.assert_allclose(found, inverse @ spread @ inverse.T, rtol=1e-5, atol=1e-5)
    if generator == "logistic":
        np.testing.assert_allclose(found, asymptotics.reward_covariance(pairs), atol=1e-10)
    else:
        excess = np.linalg.eigvalsh(found - asymptotics.reward_covariance(pairs))
        assert excess[0] > -1e-9
        assert excess[-1] > 1e-2


@pytest.mark.parametrize("generator", bregman.GENERATORS)
def test_limit_off_bradley_terry_minimises_the_loss(generator):
    win = win_matrix(REWARD[None], [1.0], 1.0).reshape(4, 4).copy()
    win[0, 3], win[3, 0] = 0.55, 0.45
    pairs, reference = pairs_of(win), np.array([0.4, 0.3, 0.2, 0.1])
    i, j = np.nonzero(pairs)

    def value(reward):
        t = torch.tensor(reward[i] - reward[j])
        zero = torch.zeros_like(t)
        weights = torch.tensor(pairs[i, j])
        batch = PreferenceLogProbs(t, zero, zero, zero, weights=weights)
        return bpo(batch, beta=1.0, generator=generator, power=POWER).item()

    found = minimize(value, REWARD, tol=1e-14, options={"gtol": 1e-9}).x
    predicted = reference * np.exp(found / 0.5)
    np.testing.assert_allclose(
        bregman.limit_policy(generator, pairs, reference, 0.5, POWER), predicted / predicted.sum(), atol=1e-6
    )


@pytest.mark.parametrize(("generator", "bounded"), [("logistic", True), ("kliep", False), ("lsif", False)])
def test_a_response_that_won_every_comparison_has_no_least_loss_unless_h_is_logistic(generator, bounded):
    values = [one_pair(generator, torch.tensor(t, dtype=torch.float64)).item() for t in (5.0, 50.0, 500.0)]
    assert values == sorted(values, reverse=True)
    assert (values[-1] >= 0) == bounded
