"""Intervals of means and of exponents, from few independent replicates as from many.

A bootstrap of three replicates cannot say more than [smallest, largest], which holds the mean in three cases
out of four whatever level it is given. The intervals here are analytic. For an estimate m with standard error
s and skewness g (of the estimate, not of the data) the studentised error T = (m - mean) / s is compared with
Student's t twice: as it is, and after Hall's transformation, which removes the skewness to first order,

    (1)  h(T) = T + (g/3) T^2 + (g^2/27) T^3 + g/6,    h^{-1}(z) = (3/g) ([1 + g (z - g/6)]^{1/3} - 1).

The interval is the smallest that holds both, but never more than twice as long as Student's on either side.
Below ten replicates its quantile is that of the level 0.994. These rules were found by simulation (ours): at
the nominal 0.99 the interval covers in 98 to 99.8 of 100 cases for 3 to 200 normal, uniform, exponential,
lognormal (sigma 0.5) and Student-3 values (docs/intervals.md).

Sources: Student's t; P. Hall, On the removal of skewness by transformation, J. R. Stat. Soc. B 54 (1992),
    221-228.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from distalign.checks import InputError
from distalign.types import Array

LEVEL = 0.99  # with dozens of claims a 95 % interval would miss a true exponent in every twentieth of them
FEW, LEVEL_OF_FEW, STRETCH = 10, 0.994, 2.0
FAMILY = 64
"""At most so many checks of the ledger ask an interval to hold a predicted exponent; a test counts them."""
SIMULTANEOUS = 1 - (1 - LEVEL) / FAMILY
"""Level at which the intervals of all these checks hold their exponents together in 99 of 100 ledgers
(Bonferroni).
"""
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Slope:
    """A slope of log error on log n.

    Attributes:
        estimate: least-squares slope through the aggregated errors.
        low, high: 99 % interval over replicates.
        family: its ends at the level of all such checks of the ledger together, `SIMULTANEOUS`.
        local: (sizes - 1,) slopes between neighbouring sizes.
        sizes: sizes used.
        errors: aggregated error at each size.
        excluded: replicates left out because their error was not finite.
    """

    estimate: float
    low: float
    high: float
    family: tuple[float, float]
    local: tuple[float, ...]
    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    excluded: int


def interval(
    estimate: float, variance: float, skewness: float, degrees: float, *, level: float = LEVEL
) -> tuple[float, float]:
    """The smallest interval that holds Student's and the one corrected for skewness by equation (1).

    Args:
        estimate: a mean, or another smooth function of means.
        variance: of the estimate.
        skewness: of the estimate; for the mean of n values it is theirs over sqrt(n).
        degrees: degrees of freedom of the variance.
        level: nominal coverage.

    Returns:
        Low and high end; NaN where there is less than one degree of freedom.

    Source: the union and the level below ten replicates are ours.

    Example:
        >>> [round(x, 3) for x in interval(0.0, 1.0, 0.0, 99.0)]  # Student's t
        [-2.626, 2.626]
        >>> [round(x, 3) for x in interval(0.0, 1.0, 0.2, 99.0)]  # the estimate is skewed to the right
        [-2.626, 3.354]
    """
    if not degrees >= 1 or not np.isfinite(variance):
        return float("nan"), float("nan")
    if variance == 0:
        return float(estimate), float(estimate)
    outside = (1 - level) * ((1 - LEVEL_OF_FEW) / (1 - LEVEL) if degrees < FEW - 1 else 1.0)
    z = float(t.isf(outside / 2, degrees))
    error = float(np.sqrt(variance))
    above = min(max(z, _unskewed(z, skewness)), STRETCH * z)
    below = max(min(-z, _unskewed(-z, skewness)), -STRETCH * z)
    return float(estimate - above * error), float(estimate - below * error)


def _unskewed(z: float, g: float) -> float:
    """h^{-1}(z) of equation (1)."""
    if abs(g) < 1e-6:
        return z
    return float(3 / g * (np.cbrt(1 + g * (z - g / 6)) - 1))


def _moments(values: Array) -> tuple[float, float, float]:
    """Mean of the values, and variance and third central moment of that mean."""
    n = len(values)
    mean = values.mean()
    rest = values - mean
    if n < 2:
        return float(mean), float("nan"), float("nan")
    return float(mean), float(rest @ rest) / (n - 1) / n, float((rest**3).mean()) / n**2


def log_slope(sizes: Array, errors: Array, *, aggregate: str = "mean") -> Slope:
    r"""Slope b of log e(n) = a + b log n, e(n) the mean (or root mean square) error over replicates.

    Cells of different size are drawn independently. The slope is a weighted sum of log means, so to first
    order its variance is the sum of w_i^2 var_i / e_i^2 over sizes, with Satterthwaite's degrees of freedom,
    and its third moment the sum of w_i^3 m3_i / e_i^3. Least squares on the means alone would know nothing of
    their errors, and its interval would cover far less than it says.

    Args:
        sizes: (N,) sample size of each replicate.
        errors: (N,) error of each replicate, in any unit; non-finite ones are left out and counted.
        aggregate: `mean` or `rms`.

    Raises:
        InputError: fewer than three sizes, or an aggregated error of zero.

    Example:
        >>> n = np.repeat([10.0, 100.0, 1000.0], 2)
        >>> round(log_slope(n, n**-0.5).estimate, 6)
        -0.5
    """
    keep = np.isfinite(errors)
    power = {"mean": 1, "rms": 2}[aggregate]
    levels = np.unique(sizes[keep])
    if len(levels) < 3:
        raise InputError(
            f"a slope needs at least three sample sizes with finite errors, got {len(levels)}: add sizes"
        )
    groups = [errors[keep & (sizes == n)] ** power for n in levels]
    means, variances, thirds = np.array([_moments(g) for g in groups]).T
    if (means <= 0).any():
        raise InputError(
            "the error is exactly zero at some size: its logarithm does not exist; use an identity claim"
        )
    x = np.log(levels)
    centred = x - x.mean()
    weights = centred / (centred @ centred) / power
    slopes = weights / means
    parts = slopes**2 * variances
    variance = parts.sum()
    freedom = np.array([len(g) - 1 for g in groups])
    degrees = (
        variance**2 / (parts**2 / np.maximum(freedom, 1)).sum() if variance > 0 else float(freedom.min())
    )
    skewness = float((slopes**3 * thirds).sum() / variance**1.5) if variance > 0 else 0.0
    estimate = float(weights @ np.log(means))
    low, high = interval(estimate, variance, skewness, degrees)
    logs = np.log(means) / power
    return Slope(
        estimate,
        low,
        high,
        interval(estimate, variance, skewness, degrees, level=SIMULTANEOUS),
        tuple(np.diff(logs) / np.diff(x)),
        tuple(levels),
        tuple(np.exp(logs)),
        int((~keep).sum()),
    )


def mean_interval(values: Array, *, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean with its interval, 99 % unless another level is asked for; NaN ends for a single value.

    Args:
        values: (N,) one value a replicate, finite.
        level: nominal coverage.

    Example:
        >>> mean_interval(np.ones(5))
        (1.0, 1.0, 1.0)
        >>> [round(x, 2) for x in mean_interval(np.array([1.0, 2.0, 3.0]))]
        [2.0, -5.42, 9.42]
    """
    mean, variance, third = _moments(np.asarray(values, float))
    skewness = third / variance**1.5 if variance > 0 else 0.0
    return mean, *interval(mean, variance, skewness, len(values) - 1, level=level)


def summarise(rows: pd.DataFrame, by: list[str], column: str = "error") -> pd.DataFrame:
    """Mean, interval and number of finite values of `column` in each group, in the order of the group keys.

    Args:
        rows: tidy rows.
        by: columns that name a group.
        column: what to average.

    Returns:
        Columns `by`, `mean`, `low`, `high`, `replicates`, `excluded`.

    Example:
        >>> summarise(pd.DataFrame({"size": [1, 1, 2], "error": [1.0, 3.0, 5.0]}), ["size"])["mean"].tolist()
        [2.0, 5.0]
    """
    out = []
    for keys, group in rows.groupby(by, sort=True):
        values = group[column].to_numpy(float)
        kept = values[np.isfinite(values)]
        mean, low, high = mean_interval(kept) if len(kept) else (np.nan, np.nan, np.nan)
        out.append(
            {
                **dict(zip(by, keys if isinstance(keys, tuple) else (keys,), strict=True)),
                "mean": mean,
                "low": low,
                "high": high,
                "replicates": len(kept),
                "excluded": len(values) - len(kept),
            }
        )
    return pd.DataFrame(out)
