"""Every guarantee as a whole value, with no argument at 1, where a product and a quotient agree."""

import math

import pytest

from distalign.theory.robust import kldpo, wasserstein

N, BETA, NORM, COVERAGE, DELTA = 2e4, 0.3, 1.7, 0.11, 0.02
LARGEST = math.log(1 + math.exp(4 * BETA * NORM))
GAMMA = BETA**2 * math.exp(4 * BETA * NORM) / (1 + math.exp(4 * BETA * NORM)) ** 2
NOISE = math.sqrt(8 * math.log(2 / DELTA) / N)
COMMON = {"beta": BETA, "norm": NORM, "delta": DELTA}


def test_guarantees_are_their_formulas():
    assert wasserstein.strong_convexity(BETA, NORM, COVERAGE) == pytest.approx(GAMMA * COVERAGE)
    assert wasserstein.wasserstein_error_bound(N, coverage=COVERAGE, **COMMON) == pytest.approx(
        LARGEST * NOISE / (GAMMA * COVERAGE)
    )
    assert wasserstein.repaired_kl_error_bound(
        N, coverage=COVERAGE, multiplier=2.3, spread=0.7, **COMMON
    ) == pytest.approx(2.3 * math.exp(0.7) * NOISE / (GAMMA * COVERAGE))
    assert kldpo.squared_error_bound(
        N, coverage=COVERAGE, multiplier_low=1.3, multiplier_high=2.3, **COMMON
    ) == pytest.approx(2.3 * math.exp(LARGEST / 1.3) * NOISE / (GAMMA * COVERAGE))
    assert wasserstein.dpo_error_bound(N, dimension=5, regulariser=0.03, **COMMON) == pytest.approx(
        4 * (4 * BETA**2 * (5 + math.log(1 / DELTA)) / (GAMMA**2 * N) + 2 * 0.03 * NORM**2)
    )
    assert wasserstein.first_informative_size(400.0, 3.0, -0.25) == pytest.approx((400 / 3) ** 4)
