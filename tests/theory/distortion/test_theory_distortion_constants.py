"""Distortion curves against golden constants, a grid search, their optimality conditions and their
asymptotes.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.theory.distortion.constants import (
    borda_distortion,
    borda_multipliers,
    correlated_rlhf_distortion,
    exponential_rlhf_distortion,
    linearised_margin,
    minimax_distortion,
    unsupported_multiplier,
    unsupported_rlhf_distortion,
    worst_gamma,
)

GOLDEN = np.array(
    [  # temperature, C, Bd, gamma*, cosh^2(b/2)
        [0.5, 1.0207470412683992, 1.0288312850901886, 0.5741794578, 1.0638129826],
        [1, 1.0819767068693265, 1.1150391323505775, 0.5650830249, 1.2715403174],
        [2, 1.3130352854993315, 1.453962686056149, 0.5337839027, 2.3810978455],
        [5, 2.533918274531521, 3.4776557739970464, 0.4161591818, 37.6049742639],
        [10, 5.000454019910097, 8.029635626565923, 0.2887372467, 5507.1164600517],
        [20, 10.000000041223073, 17.66838663321523, 0.1818446461, 1.2129e8],
        [50, 25.0, 47.202465758270606, 0.0916972668, 1.296e21],
    ]
)


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def test_golden_constants():
    b, c, bd, gamma, cosh2 = GOLDEN.T
    np.testing.assert_allclose(minimax_distortion(b), c, rtol=1e-14)
    np.testing.assert_allclose(borda_distortion(b), bd, rtol=1e-13)
    np.testing.assert_allclose(worst_gamma(b), gamma, atol=6e-11)
    np.testing.assert_allclose(unsupported_rlhf_distortion(b), cosh2, rtol=2e-4)
    np.testing.assert_allclose(unsupported_rlhf_distortion(b[:5]), cosh2[:5], rtol=1e-9)


@pytest.mark.parametrize("b", [0.3, 2.0, 9.0, 40.0])
def test_borda_is_the_supremum_over_gamma(b):
    s = lambda t: sigmoid(t) - 0.5  # noqa: E731
    g = np.linspace(1e-6, 1 - 1e-6, 200_001)
    values = minimax_distortion(b) * (1 - g + s(b * g) / s(b))
    assert values.max() == pytest.approx(float(borda_distortion(b)), rel=1e-9)
    assert values.max() <= borda_distortion(b) * (1 + 1e-14)
    assert g[values.argmax()] == pytest.approx(float(worst_gamma(b)), abs=1e-5)


def test_first_order_condition_of_gamma():
    b = np.geomspace(0.05, 30, 40)
    p = sigmoid(b * worst_gamma(b))
    np.testing.assert_allclose(p * (1 - p), np.tanh(b / 2) / (2 * b), rtol=1e-12)


def test_order_of_the_curves_and_the_weaker_published_bounds():
    b = np.geomspace(0.01, 300, 200)
    c, bd = minimax_distortion(b), borda_distortion(b)
    assert (bd > c).all()
    assert (bd <= c**2 * (1 + 1e-15)).all()
    assert (bd < 2 * c).all()
    assert (unsupported_rlhf_distortion(b) >= c).all()


def test_small_and_large_temperatures():
    small = np.array([1e-8, 1e-5, 1e-4, 3e-4, 1e-3])
    np.testing.assert_allclose(minimax_distortion(small) - 1, small**2 / 12, rtol=1e-5, atol=3e-16)
    np.testing.assert_allclose(worst_gamma(small), 3**-0.5, rtol=1e-7)
    assert float(borda_distortion(1e-8)) == pytest.approx(1, abs=1e-15)
    large = np.array([50.0, 500.0, 1e8])
    np.testing.assert_allclose(minimax_distortion(large), large / 2, rtol=1e-15)
    np.testing.assert_allclose(borda_distortion(large), large - (1 + np.log(2 * large)) / 2, rtol=2e-4)
    assert float(borda_distortion(500.0)) == pytest.approx(496.0466, abs=5e-5)
    assert unsupported_rlhf_distortion(5000.0) == np.inf


def test_gamma_is_continuous_where_the_series_takes_over():
    below, above = 0.04 * (1 - 1e-9), 0.04 * (1 + 1e-9)
    assert float(worst_gamma(below)) == pytest.approx(float(worst_gamma(above)), rel=1e-11)


@pytest.mark.parametrize(
    ("b", "limit"), [(6, 6.724), (8, 37.262), (10, 220.265), (12, 1356.29), (14, 8590.03)]
)
def test_exponential_limit(b, limit):
    assert float(exponential_rlhf_distortion(b)) == pytest.approx(limit, rel=5e-5)


def test_exponential_family_is_never_better_than_1_nor_worse_than_the_sharper_one():
    b = np.geomspace(0.01, 1000, 200)
    paper, sharp = exponential_rlhf_distortion(b), unsupported_rlhf_distortion(b)
    assert ((paper >= 1) & (paper <= sharp)).all()
    large = b[(b > 10) & (b < 700)]
    ratio = unsupported_rlhf_distortion(large) / exponential_rlhf_distortion(large)
    np.testing.assert_allclose(ratio, 2.5 * large, rtol=1e-3)


@pytest.mark.parametrize(("b", "asymptote"), [(2, 8.61), (10, 43.03)])
def test_golden_growth_with_the_number_of_alternatives(b, asymptote):
    assert float(correlated_rlhf_distortion(b, 1000)) == pytest.approx(asymptote, abs=5e-3)


def test_linear_limits_hold_s_between_chord_and_tangent():
    x, y = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41))
    for b in (0.1, 2.0, 10.0, 80.0):
        low, high = linearised_margin(b, x, y)
        margin = sigmoid(b * (x - y)) - 0.5
        assert (low - margin).max() <= 1e-15
        assert (margin - high).max() <= 1e-15
        assert float(low[0, -1]) == pytest.approx(float(sigmoid(b) - 0.5), abs=1e-15)  # reached at (1, 0)


def excess(b, v, w, t):
    """Largest violation of a + v [s(b(c-y)) - s(b(a-y))] + w s(b(c-y)) <= t c on a grid, as a share of t."""
    a, y, c = np.meshgrid(*[np.linspace(0, 1, 92)] * 3, indexing="ij", sparse=True)
    s = lambda d: np.tanh(b * d / 2) / 2  # noqa: E731
    return float((a + v * (s(c - y) - s(a - y)) + w * s(c - y) - t * c).max() / t)


@pytest.mark.parametrize("b", [0.1, 1.0, 5.0, 10.0, 50.0, 200.0])
def test_dual_inequalities_prove_the_bounds(b):
    sharp, weak = borda_multipliers(b), borda_multipliers(b, equal=True)
    assert float(sharp[2]) == pytest.approx(float(borda_distortion(b)), rel=1e-13)
    assert float(weak[2]) == pytest.approx(2 * float(minimax_distortion(b)), rel=1e-13)
    assert excess(b, *sharp) <= 1e-12
    assert excess(b, *weak) <= 1e-12
    if b <= 10:
        assert excess(b, unsupported_multiplier(b)[0], 0, unsupported_multiplier(b)[1]) <= 1e-12


@pytest.mark.parametrize("b", [1.0, 10.0])
def test_a_smaller_bound_has_no_such_proof(b):
    """Negative control of the grid: two per cent off the multiplier and the inequality is violated."""
    v, w, t = borda_multipliers(b)
    assert excess(b, v, 0.98 * w, t) > 1e-4
    if b == 1:  # where the extreme utilities are not smaller than the grid's
        assert excess(b, 0.98 * unsupported_multiplier(b)[0], 0, 0.98 * unsupported_multiplier(b)[1]) > 1e-4


def test_correlated_growth_needs_two_alternatives():
    with pytest.raises(InputError, match="alternatives"):
        correlated_rlhf_distortion(1.0, 1)


@pytest.mark.parametrize(
    "f",
    [
        minimax_distortion,
        borda_distortion,
        worst_gamma,
        unsupported_rlhf_distortion,
        exponential_rlhf_distortion,
        borda_multipliers,
        unsupported_multiplier,
    ],
)
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_bad_temperatures_are_named(f, bad):
    with pytest.raises(InputError, match="bt_temperature"):
        f(bad)
