"""Exponents of the error in the sample size, each with an interval and with the local slopes.

A guarantee such as "the error is O(n^{-1/2})" is tested by the slope of log error on log n. One slope over
the whole range can hide that the error falls slowly at first and fast later, so the slopes between
neighbouring sizes are reported beside it.

Why seeds are the clusters. The independent units of a study are its draws of data, one for each seed and
size. Whatever else is recorded of a draw depends on that draw and does not add independent information. So
each size contributes the mean error of its seeds and the variance of that mean, and the variance of the slope
follows from those. Ordinary least squares on the means would estimate the error of the slope from the
distances of three to six points to their line; its nominal 95 % interval covers far less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from distalign.checks import InputError
from distalign.intervals import SIMULTANEOUS, interval, mean_interval, moments_of_mean
from distalign.types import Array


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
    means, variances, thirds = np.array([moments_of_mean(g) for g in groups]).T
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


def summarise(rows: pd.DataFrame, by: list[str], column: str = "error") -> pd.DataFrame:
    """Mean, 99 % interval and number of finite values of a column in each group, in the order of the keys.

    Args:
        rows: tidy rows, one observation a row.
        by: names of the columns whose values together name a group.
        column: the column to average.

    Returns:
        One row a group with the columns `by`, `mean`, `low`, `high`, `replicates` (finite values) and
        `excluded` (the others).

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
