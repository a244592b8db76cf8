"""Closed forms against quadrature of the quantile difference, and the central limit constants against
samples.
"""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri

from distalign.theory.aot import transport as aot

NORMALS = [(0.4, 1.0, 0.0, 1.5), (-0.3, 2.0, 0.5, 0.7), (1.0, 0.2, 0.9, 3.0)]
LINES = [(0.3, 0.8), (-0.5, 1.2), (0.4, -1.5), (-2.0, 0.1)]
MARGIN, BETA = 0.7, 2.5
PENALTIES = {
    "least_squares": (lambda x: (MARGIN - x) ** 2, MARGIN),
    "squared_hinge": (lambda x: max(MARGIN - x, 0) ** 2, MARGIN),
    "hinge": (lambda x: max(MARGIN - x, 0), MARGIN),
    "logistic": (lambda x: np.logaddexp(0, -BETA * x), BETA),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("laws", NORMALS)
def test_gaussian_costs(penalty, laws):
    h, parameter = PENALTIES[penalty]
    m1, s1, m2, s2 = laws
    kink = (MARGIN - (m1 - m2)) / (s1 - s2)

    def integrand(z):
        return h(m1 - m2 + (s1 - s2) * z) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

    expected = sum(quad(integrand, low, high, epsabs=1e-13)[0] for low, high in ((-12, kink), (kink, 12)))
    assert getattr(aot, f"gaussian_{penalty}")(*laws, parameter) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("line", LINES)
def test_uniform_costs(penalty, line):
    h, parameter = PENALTIES[penalty]
    start, slope = line
    kink = float(np.clip((MARGIN - start) / slope, 0, 1))
    expected = sum(
        quad(lambda t: h(start + slope * t), a, b, epsabs=1e-13)[0] for a, b in ((0, kink), (kink, 1))
    )
    assert getattr(aot, f"uniform_{penalty}")(start, slope, parameter) == pytest.approx(
        expected, rel=1e-9, abs=1e-13
    )


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
    assert costs.mean() == pytest.approx(aot.null_hinge(n), rel=0.04)
