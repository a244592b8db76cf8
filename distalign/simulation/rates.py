"""Exponents of error in sample size, with an interval and with the local slopes that one number can hide."""

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
        estimate: least-squares slope through the aggregated errors.
        low, high: 99 % percentile interval of the bootstrap over seeds.
        local: (sizes - 1,) slopes between neighbouring sizes.
        sizes: sizes used.
        errors: aggregated error at each size.
        excluded: replicates left out because their error was not finite.
    """

    estimate: float
    low: float
    high: float
    local: tuple[float, ...]
    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    excluded: int


def log_slope(sizes: Array, errors: Array, *, aggregate: str = "mean", seed: int = 0) -> Slope:
    r"""Slope b of log e(n) = a + b log n, e(n) the mean (or root mean square) error over seeds.

    The interval resamples seeds within each size: cells of different size are drawn independently, so a seed
    is one replicate at one size. The means are resampled, not the points of the regression: least squares on
    means of nested samples has a nominal interval that covers far less.

    Args:
        sizes: (N,) sample size of each replicate.
        errors: (N,) error of each replicate, in any unit; non-finite ones are left out and counted.
        aggregate: `mean` or `rms`.
        seed: seed of the bootstrap, fixed so that a verdict is reproducible.

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
