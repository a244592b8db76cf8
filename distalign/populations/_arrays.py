"""Input checks and multinomial counts that every population shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError
from distalign.types import Array

Integers = NDArray[np.int64]


def probabilities(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as float64 of the given shape, non-negative with rows of sum 1.

    Rows whose sum is within 1e-6 of 1 are divided by it.
    """
    p = np.asarray(value, dtype=np.float64)
    if p.shape != shape:
        raise InputError(f"{name} has shape {p.shape}, expected {shape}: give one probability for each entry")
    total = p.sum(-1, keepdims=True)
    if not (np.all(p >= 0) and np.all(np.abs(total - 1) <= 1e-6)):
        raise InputError(
            f"{name} must be non-negative with rows that sum to 1, got sums in "
            f"[{total.min():.6g}, {total.max():.6g}]: divide each row by its sum"
        )
    return p / total


def draw_counts(p: Array, n: int, rng: np.random.Generator, replicates: int) -> Array:
    """Multinomial counts (replicates, A) of n draws from the law p (A,), at a cost that does not depend on n.

    Only atoms of positive probability are drawn: numpy gives the rounding error of sum(p) to the last atom,
    which must never be one of probability zero.
    """
    at_least("n", n, 0)
    at_least("replicates", replicates, 1)
    support = np.flatnonzero(p)
    counts = np.zeros((replicates, p.size))
    counts[:, support] = rng.multinomial(n, p[support] / p[support].sum(), size=replicates)
    return counts


def at_least(name: str, value: int, least: int) -> None:
    """Raise unless `value` is an integer of at least `least`."""
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")
