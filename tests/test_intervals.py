"""Intervals against scipy; how often they hold the truth is in tests/simulation/test_verdict.py."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from distalign.intervals import t_interval, wilson


def test_wilson_is_scipys():
    for successes, n in ((0, 7), (3, 10), (480, 500), (7, 7)):
        for level in (0.95, 0.99):
            theirs = binomtest(successes, n).proportion_ci(level, "wilson")
            assert wilson(successes / n, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_t_interval_of_a_mean_is_scipys():
    values = np.array([0.2, 0.5, 0.1, 0.9, 0.4])
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    for level in (0.95, 0.99):
        theirs = ttest_1samp(values, 0).confidence_interval(level)
        assert t_interval(float(values.mean()), error, 5, level) == pytest.approx(
            (theirs.low, theirs.high), abs=1e-12
        )
