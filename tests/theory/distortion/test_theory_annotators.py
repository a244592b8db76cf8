"""Biases of the logit by series against exact expectations, and the fit's change against a fit."""

import numpy as np
import pytest
from scipy.special import expit, logit

from distalign.solvers.choice.reward import reward_mle
from distalign.theory.distortion.annotators import anonymous_bias, corrected_bias, fitted_bias

SHARES, TASTES = np.array([0.2, 0.8]), np.array([4.0, -1.0])


@pytest.mark.parametrize("mean", [-2.0, 0.3, 1.5])
def test_both_constants(mean):
    def ratios(s):
        won = expit(mean + s * TASTES)
        p, twice = SHARES @ won, SHARES @ won**2
        corrected = p - (1 - 2 * p) * (twice - p**2) / (2 * p * (1 - p))
        anonymous = anonymous_bias(mean, SHARES @ (s * TASTES) ** 2)
        left = corrected_bias(mean, SHARES @ (s * TASTES) ** 3)
        return np.array([(logit(p) - mean) / anonymous, (logit(corrected) - mean) / left])

    np.testing.assert_allclose(2 * ratios(0.005) - ratios(0.01), 1.0, atol=2e-3)


def test_the_change_of_a_fit():
    rng = np.random.default_rng(0)
    reward, change = rng.standard_normal(4), np.triu(rng.standard_normal((4, 4)), 1)
    reward, change = reward - reward.mean(), 1e-5 * (change - change.T)
    weights = rng.uniform(0.2, 1, (4, 4))
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    moved = reward_mle(expit(reward[:, None] - reward + change), weights).reward - reward
    np.testing.assert_allclose(moved, fitted_bias(change, reward, weights), atol=1e-9)
