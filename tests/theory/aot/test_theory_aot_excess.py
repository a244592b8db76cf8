"""Constants of AOT's empirical minimiser, and the limit of the logistic cost along a ray, by other roads."""

import numpy as np
import pytest
import torch

from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.theory.aot.excess import covariance, excess_constant, two_policy_excess
from distalign.theory.aot.scale import ray_limit


def test_covariance_is_that_of_sampled_means():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(3))
    f, g = rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    means = rng.multinomial(300, p, size=200_000) / 300 @ f + rng.multinomial(100, q, size=200_000) / 100 @ g
    np.testing.assert_allclose(300 * np.cov(means.T), covariance(f, g, p, q, ratio=3.0), rtol=0.02, atol=0.02)


def test_excess_constant_is_that_of_a_quadratic():
    rng = np.random.default_rng(1)
    h, c = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 2.0]])
    theta = np.linalg.solve(h, rng.multivariate_normal(np.zeros(2), c, size=400_000).T).T
    simulated = 0.5 * np.einsum("ni,ij,nj->n", theta, h, theta).mean()
    assert excess_constant(h, c) == pytest.approx(simulated, rel=0.01)


def test_two_policy_excess_is_largest_at_three_quarters():
    grid = np.linspace(0, 3, 3001)
    assert grid[np.argmax([two_policy_excess(c) for c in grid])] == pytest.approx(0.752, abs=2e-3)
    draws = np.random.default_rng(2).normal(0.75, 1, size=400_000)
    assert two_policy_excess(0.75) == pytest.approx(0.75 * (draws < 0).mean(), rel=0.01)


def test_ray_limit_is_the_cost_far_out():
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores, ref = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), size=3)
        tilt = np.exp(scores) / (1 + np.exp(scores))
        joint = rng.dirichlet(np.ones(3))[:, None] * ref
        p, q = joint * tilt / (joint * tilt).sum(), joint * (1 - tilt) / (joint * (1 - tilt)).sum()
        logits = np.log(ref) + 1e6 * scores
        ratios = torch.from_numpy(
            (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) - np.log(ref)).ravel()
        )
        zero = torch.zeros_like(ratios)
        batch = PreferenceLogProbs(
            ratios, ratios, zero, zero, torch.from_numpy(p.ravel()), torch.from_numpy(q.ravel())
        )
        limit, far = ray_limit(scores, ref, p.ravel(), q.ravel(), 0.7), float(aot_unpaired(batch, beta=0.7))
        if np.isfinite(limit):
            assert limit == pytest.approx(far, rel=1e-9)
        else:
            assert far > 1e2


def test_ray_limit_is_infinite_where_the_direction_is_wrong():
    assert ray_limit([[0.0, 1.0]], [[0.5, 0.5]], [0.75, 0.25], [0.25, 0.75], 1.0) == np.inf
