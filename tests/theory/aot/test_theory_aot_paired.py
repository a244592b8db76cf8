"""The paired problem's covariance, spreads and bound, by simulation."""

import numpy as np
import pytest

from distalign.theory.aot.excess import covariance
from distalign.theory.aot.paired import class_spread, law_spread, paired_covariance, paired_excess_bound


def test_covariance_is_that_of_means_over_one_draw_of_pairs():
    rng = np.random.default_rng(0)
    p, f, g = rng.dirichlet(np.ones(4)), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    means = rng.multinomial(300, p, size=200_000) / 300 @ (f + g)
    np.testing.assert_allclose(300 * np.cov(means.T), paired_covariance(f, g, p), rtol=0.02, atol=0.02)
    together, apart = paired_covariance(f, g, p), covariance(f, g, p, p)
    both = paired_covariance(f, -g, p)
    np.testing.assert_allclose(together + both, 2 * apart, atol=1e-12)  # the parallelogram


def test_law_spread_is_an_integral_and_bounds_the_distance():
    rng = np.random.default_rng(1)
    x, p = rng.normal(size=6), rng.dirichlet(np.ones(6))
    grid = np.linspace(x.min(), x.max(), 400_001)
    below = (p[:, None] * (x[:, None] <= grid)).sum(0)
    assert law_spread(x, p) == pytest.approx(np.trapezoid(np.sqrt(below * (1 - below)), grid), rel=1e-4)
    order = np.argsort(x)
    shares = rng.multinomial(50, p, size=20_000) / 50 - p
    distance = np.abs(shares[:, order].cumsum(1)[:, :-1]) @ np.diff(x[order])
    assert 0.7 * law_spread(x, p) < np.sqrt(50) * distance.mean() <= law_spread(x, p)


def test_class_spread_holds_for_the_worst_policy_of_every_sample():
    """The worst of all margins within the envelope: a linear programme whose answer has signs only."""
    rng = np.random.default_rng(2)
    p, envelope = rng.dirichlet(np.ones(5)), rng.uniform(0.5, 2.0, size=5)
    shares = rng.multinomial(80, p, size=20_000) / 80 - p
    u = rng.uniform(-1, 1, size=(200, 5)) * envelope
    worst = np.zeros(len(shares))
    for margins in u:
        order = np.argsort(margins)
        distance = np.abs(shares[:, order].cumsum(1)[:, :-1]) @ np.diff(margins[order])
        worst = np.maximum(worst, distance)
    assert np.sqrt(80) * worst.mean() <= class_spread(envelope, p)
    assert paired_excess_bound(80, 2.0, 1.0, 0.0, 3.0) == pytest.approx(8 / np.sqrt(80))
