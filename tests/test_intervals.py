"""Intervals against scipy, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from distalign.intervals import mean_interval, t_interval, wilson, wilson_99


def test_wilson_is_scipys():
    for successes, n in ((0, 7), (3, 10), (480, 500), (7, 7)):
        for level in (0.95, 0.99):
            theirs = binomtest(successes, n).proportion_ci(level, "wilson")
            assert wilson(successes / n, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_at_99_percent_is_wilson_99():
    for share, n in ((0.0, 7), (0.3, 10), (0.96, 500), (1.0, 7)):
        assert wilson(share, n, 0.99) == pytest.approx(wilson_99(share, n), abs=1e-14)


def test_t_interval_of_a_mean_is_scipys():
    values = np.array([0.2, 0.5, 0.1, 0.9, 0.4])
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    for level in (0.95, 0.99):
        theirs = ttest_1samp(values, 0).confidence_interval(level)
        assert t_interval(float(values.mean()), error, 5, level) == pytest.approx(
            (theirs.low, theirs.high), abs=1e-12
        )


def test_the_bootstrap_of_three_seeds_is_their_range():
    """Why few seeds get no percentile bootstrap: three values miss the mean once in four times."""
    values = np.array([0.3, 0.1, 0.2])
    assert mean_interval(values) == pytest.approx((0.2, 0.1, 0.3))
    draws = np.random.default_rng(0).normal(size=(400, 3))
    held = [low <= 0 <= high for _, low, high in map(mean_interval, draws)]
    assert 0.68 < np.mean(held) < 0.82
