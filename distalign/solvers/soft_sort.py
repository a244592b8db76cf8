"""The soft sort of the AOT paper's appendix: projection on the permutahedron with a quadratic regulariser.

Source: Blondel et al. 2020, as the code in the appendix of arXiv 2406.05882 uses it; `exact_strength` is
    ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import moderate, positive, reals
from distalign.types import Array


def soft_sort(values: ArrayLike, strength: float) -> Array:
    r"""Descending soft sort: the point of the permutahedron of `values` nearest to (n, ..., 1) / strength.

    With w the values in descending order and z = (n, ..., 1) / strength the projection is  z - PAV(z - w),
    where PAV is the isotonic regression on non-increasing sequences (pool adjacent violators). Where z - w is
    non-increasing already, that is where no gap w_i - w_{i+1} exceeds 1 / strength, PAV does nothing and the
    soft sort *is* the hard sort, with its gradient. Larger gaps are pooled: inside a pool entries lie
    1 / strength apart around the mean of their values.

    Args:
        values: (n,) finite values.
        strength: regularisation strength, above 0, in 1 / units of the values.

    Returns:
        (n,) soft-sorted values, descending, of the same sum.

    Raises:
        InputError: values are no vector, or the strength is not positive.

    Source: Blondel, Teboul, Berthet and Djolonga 2020, arXiv 2002.08871; the threshold is ours.

    Example:
        >>> soft_sort([1.0, 3.0, 2.0], 0.5).tolist(), soft_sort([0.0, 10.0], 0.5).tolist()
        ([3.0, 2.0, 1.0], [6.0, 4.0])
    """
    w = -np.sort(-reals("values", values, "(n,)", "soft_sort takes one vector: sort the rows one by one"))
    positive("strength", strength, "0.1 is usual; the limit 0 is the hard sort")
    moderate("strength", strength, "0.1 is usual; the limit 0 is the hard sort")
    moderate("values", w, "take other units")
    z = np.arange(len(w), 0, -1) / strength
    means, counts = _non_increasing(z - w)
    # A pool of one keeps its value: z - (z - w) would round it at the size of z.
    return np.where(np.repeat(counts, counts) == 1, w, z - np.repeat(means, counts))


def exact_strength(values: ArrayLike) -> float:
    """The largest strength at which soft and hard sort agree: 1 / (largest gap of the sorted values).

    It is infinite where all values are equal.

    Raises:
        InputError: values are no finite vector.

    Example:
        >>> exact_strength([0.0, 4.0, 3.0])
        0.3333333333333333
    """
    gaps = np.diff(np.sort(reals("values", values, "(n,)", "give one vector")))
    largest = float(gaps.max(initial=0.0))
    return 1 / largest if largest > 0 else float("inf")


def _non_increasing(y: Array) -> tuple[Array, NDArray[np.int64]]:
    """Pool adjacent violators: the means and counts of the pools of the nearest non-increasing sequence."""
    means: list[float] = []
    counts: list[int] = []
    for value in y:
        means.append(float(value))
        counts.append(1)
        while len(means) > 1 and means[-2] < means[-1]:
            mean, count = means.pop(), counts.pop()
            means[-1] = (means[-1] * counts[-1] + mean * count) / (counts[-1] + count)
            counts[-1] += count
    return np.array(means), np.array(counts)
