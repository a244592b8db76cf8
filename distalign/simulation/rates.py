"""Exponents of the error in the sample size, each with an interval and with the local slopes.

A guarantee such as "the error is O(n^{-1/2})" is tested by the slope of log error on log n. One slope over
the whole range can hide that the error falls slowly at first and fast later, so the slopes between
neighbouring sizes are reported beside it.

Why seeds are the clusters. The independent units of a study are its draws of data, one for each seed and
size. Whatever else is recorded of a draw depends on that draw, and does not add independent information. So
the bootstrap resamples seeds: at each size the seeds are drawn again with replacement, their errors are
averaged, and a line is fitted to the logarithms of the averages. The interval holds the middle 99 % of the
slopes of all resamples. Ordinary least squares on the averages would estimate the error of the slope from
the distances of three to six points to their line; its nominal 95 % interval covers far less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from distalign.checks import InputError
from distalign.intervals import RESAMPLES, TAILS, mean_interval
from distalign.types import Array


@dataclass(frozen=True)
class Slope:
    """A slope of log error on log n.

    Attributes:
        estimate: least-squares slope through the logarithms of the aggregated errors.
        low, high: ends of the 99 % percentile interval of the bootstrap over seeds.
        local: (sizes - 1,) slopes between neighbouring sizes.
        sizes: the sizes used, in increasing order.
        errors: aggregated error at each size.
        excluded: number of replicates left out because their error was not finite.
    """

    estimate: float
    low: float
    high: float
    local: tuple[float, ...]
    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    excluded: int


def log_slope(sizes: Array, errors: Array, *, aggregate: str = "mean", seed: int = 0) -> Slope:
    r"""The slope b of log e(n) = a + b log n, where e(n) is the mean (or root mean square) error over seeds.

    The interval resamples the seeds within each size. Cells of different sizes are drawn independently, so
    the independent unit is one seed at one size. What is resampled are the errors behind each mean, and not
    the points of the regression: least squares on means of nested samples has a nominal interval that covers
    far less.

    Args:
        sizes: (N,) sample size of each replicate.
        errors: (N,) error of each replicate, in any unit; those that are not finite are left out and counted.
        aggregate: `mean` or `rms` (root mean square) over the replicates of a size.
        seed: seed of the bootstrap, fixed so that a verdict is reproducible.

    Raises:
        InputError: there are fewer than three sizes, or an aggregated error is zero.

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
    rng = np.random.default_rng(seed)
    groups = [errors[keep & (sizes == n)] ** power for n in levels]
    means = np.array([g.mean() for g in groups])
    if (means <= 0).any():
        raise InputError(
            "the error is exactly zero at some size: its logarithm does not exist; use an identity claim"
        )
    draws = np.stack([g[rng.integers(len(g), size=(RESAMPLES, len(g)))].mean(1) for g in groups])
    x = np.log(levels)
    centred = x - x.mean()
    weights = centred / (centred @ centred) / power
    with np.errstate(divide="ignore"):
        low, high = np.quantile(weights @ np.log(draws), TAILS)
    logs = np.log(means) / power
    return Slope(
        float(weights @ np.log(means)),
        float(low),
        float(high),
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
