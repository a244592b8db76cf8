"""Closed forms against quadrature of the quantile difference, and the central limit constants against
samples.
"""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri

from distalign.theory.aot import transport as aot

NORMALS = [(0.4, 1.0, 0.0, 1.5), (-0.3, 2.0, 0.5, 0.7), (1.0, 0.2, 0.9, 3.0)]
MARGIN, BETA = 0.7, 2.5


@pytest.mark.parametrize("laws", NORMALS)
def test_gaussian_least_squares_cost(laws):
    m1, s1, m2, s2 = laws

    def integrand(z):
        return (MARGIN - (m1 - m2 + (s1 - s2) * z)) ** 2 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

    expected = quad(integrand, -12, 12, epsabs=1e-13)[0]
    assert aot.gaussian_least_squares(*laws, MARGIN) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("laws", NORMALS)
def test_least_squares_constant_is_a_case_of_the_general_one(laws):
    m1, s1, m2, s2 = laws
    general = aot.clt_sd(
        lambda x: -2 * (MARGIN - x), lambda t: m1 + s1 * ndtri(t), lambda t: m2 + s2 * ndtri(t)
    )
    assert general == pytest.approx(aot.gaussian_least_squares_sd(*laws, MARGIN), rel=1e-6)


def sorted_costs(rng, h, n, replicates, draw_u, draw_v):
    u, v = (np.sort(draw(rng, (replicates, n)), axis=1) for draw in (draw_u, draw_v))
    return h(u - v).mean(1)


def test_constant_of_the_logistic_cost_against_samples():
    def h(x):
        return np.logaddexp(0, -BETA * x)

    def derivative(x):
        return -BETA / (1 + np.exp(BETA * x))

    predicted = aot.clt_sd(derivative, lambda t: 0.2 + t, lambda t: 1.6 * t)
    n, replicates = 1000, 4000
    costs = sorted_costs(
        np.random.default_rng(0),
        h,
        n,
        replicates,
        lambda rng, shape: 0.2 + rng.random(shape),
        lambda rng, shape: 1.6 * rng.random(shape),
    )
    measured = np.sqrt(n) * costs.std()
    assert measured == pytest.approx(predicted, rel=4 / np.sqrt(2 * replicates))
    assert measured != pytest.approx(
        aot.clt_sd(derivative, lambda t: 0.2 + t, lambda t: 0.0 * t), rel=0.05
    )  # half of it


def test_null_squared_hinge_is_exact():
    n, replicates = 7, 200_000
    costs = sorted_costs(
        np.random.default_rng(1),
        lambda x: np.clip(-x, 0, None) ** 2,
        n,
        replicates,
        lambda rng, shape: rng.random(shape),
        lambda rng, shape: rng.random(shape),
    )
    assert abs(costs.mean() - aot.null_squared_hinge(n)) < 4 * costs.std() / np.sqrt(replicates)


def test_null_hinge_decays_like_the_root():
    n, replicates = 1600, 4000
    costs = sorted_costs(
        np.random.default_rng(2),
        lambda x: np.clip(-x, 0, None),
        n,
        replicates,
        lambda rng, shape: rng.random(shape),
        lambda rng, shape: rng.random(shape),
    )
    assert costs.mean() == pytest.approx(np.sqrt(np.pi / n) / 8, rel=0.04)
