"""Confidence intervals: of a share, of a mean over few clusters, and of a mean by the bootstrap.

Which one to take. A share of n independent trials gets Wilson's interval (`wilson`), which stays between
0 and 1 and is right near both. A mean over few clusters, prompts or topics for instance, gets Student's t
(`t_interval`). A mean over many independent seeds gets the percentile bootstrap (`mean_interval`), which asks
for no normal distribution. It is too short for few seeds: of three it is their range, from the smallest to
the largest, which misses the mean of a symmetric distribution once in four times.
"""

from __future__ import annotations

import math

import numpy as np

from distalign.types import Array

RESAMPLES = 2000
LEVEL = 0.99  # with dozens of claims a 95 % interval would miss a true exponent in every twentieth of them
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def wilson_99(t: float, n: float) -> tuple[float, float]:
    """Wilson's 99 % interval of a share t of n independent trials.

    It holds every true share p that lies within z standard deviations sqrt(p (1 - p) / n) of t, where z is
    the normal quantile.

    Args:
        t: the share, between 0 and 1.
        n: number of trials.

    Source: Wilson 1927; formula as in textbooks.

    Example:
        >>> [round(x, 4) for x in wilson_99(0.5, 100)]
        [0.3753, 0.6247]
    """
    z = 2.5758293035489004  # 99 %
    middle, width = t + z**2 / (2 * n), z * math.sqrt(t * (1 - t) / n + z**2 / (4 * n**2))
    return (middle - width) / (1 + z**2 / n), (middle + width) / (1 + z**2 / n)


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a share of n independent trials at any level.

    The interval depends on n and on the normal quantile z of the level through n / z^2 alone. So the interval
    at `level` is the 99 % interval of another number of trials.

    Args:
        share: successes over trials.
        n: number of trials.
        level: how often the interval should hold the true share, for instance 0.95.

    Source: Wilson 1927; formula as in textbooks.

    Example:
        >>> [round(x, 4) for x in wilson(0.5, 100, 0.95)]
        [0.4038, 0.5962]
    """
    from scipy.stats import norm

    return wilson_99(share, n * float(norm.ppf((1 + 0.99) / 2) / norm.ppf((1 + level) / 2)) ** 2)


def t_interval(value: float, error: float, clusters: int, level: float) -> tuple[float, float]:
    """The interval value +- t_{G-1} error of a statistic over G clusters.

    Student's quantile t_{G-1} is used because normal quantiles and bootstrap percentiles are too short where
    G is small.

    Args:
        value: the statistic.
        error: its standard error.
        clusters: G, at least 2.
        level: how often the interval should hold the true value.

    Source: Student 1908; formula as in textbooks.

    Example:
        >>> [round(x, 3) for x in t_interval(0.7, 0.05, 6, 0.95)]
        [0.571, 0.829]
    """
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, clusters - 1)) * error
    return value - half, value + half


def mean_interval(values: Array, *, seed: int = 0) -> tuple[float, float, float]:
    """Mean with its 99 % percentile bootstrap interval.

    Args:
        values: (N,) one value a seed, finite.
        seed: seed of the bootstrap, fixed so that the interval is reproducible.

    Returns:
        The mean and both ends of the interval.

    Source: Efron 1979; formula as in textbooks.

    Example:
        >>> mean_interval(np.ones(5))
        (1.0, 1.0, 1.0)
    """
    draws = values[np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(draws, TAILS)
    return float(values.mean()), float(low), float(high)
