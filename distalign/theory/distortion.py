r"""Worst-case distortion of alignment as a function of the Bradley-Terry temperature.

Users have utilities in [0, 1] and prefer x to y with probability sigma(b (u(x) - u(y))), b = `bt_temperature`. The
distortion of a rule is the best average utility in its class over the average utility it achieves, 1 or more. With
s(t) = sigma(t) - 1/2 = tanh(t/2)/2 everything below is a ratio of values of s. The functions take one temperature or an
array of them, are accurate from 1e-8 to 1e8, and raise `InputError` for temperatures that are not positive and finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError

Array = NDArray[np.float64]


def minimax_distortion(bt_temperature: ArrayLike) -> Array:
    r"""The best worst case any rule can have, reached by Nash learning from human feedback and by the maximal lottery.

    C(b) = sigma'(0) / (s(b)/b) = (b/2) coth(b/2)  = 1 + b^2/12 - ...  ~ b/2.

    Returns:
        C, the shape of `bt_temperature`.

    Source: Gölz, Haghtalab, Yang, "Distortion of AI Alignment", arXiv 2505.23749: Theorem 3 (lower bound), Corollary 4 and
    Theorem 7 (upper bounds).

    Example:
        >>> minimax_distortion([1e-6, 5.0, 50.0]).tolist()
        [1.0000000000000833, 2.533918274531521, 25.0]
    """
    half = _positive(bt_temperature) / 2
    # tanh rounds to its argument for small ones, where the quotient would lose b^2/12.
    return np.where(half < 1e-4, 1 + half**2 / 3, half / np.tanh(np.maximum(half, 1e-4)))


def borda_distortion(bt_temperature: ArrayLike) -> Array:
    r"""The exact worst case of the Borda rule, and so of RLHF without a KL constraint.

    Bd(b) = C(b) sup_{0<g<1} [1 - g + s(bg)/s(b)], over all populations, three or more alternatives and all product
    comparison distributions;  ~ b - (1 + log 2b)/2 for large b.

    Returns:
        Bd, the shape of `bt_temperature`.

    Source: lower bound, arXiv 2505.23749, Theorem 12; that it is exact is ours (by linear programming duality).

    Example:
        >>> borda_distortion(10.0).round(9).item()
        8.029635627
    """
    g, half = worst_gamma(bt_temperature), _positive(bt_temperature) / 2
    return minimax_distortion(bt_temperature) * (1 - g + np.tanh(half * g) / np.tanh(half))


def worst_gamma(bt_temperature: ArrayLike) -> Array:
    r"""The g that attains `borda_distortion`:  sigma'(b g) = s(b)/b, that is

    g = (2/b) artanh(sqrt(1 - 4 s(b)/b)),  between 1/sqrt(3) as b -> 0 and 0 as b -> infinity.

    Returns:
        g, the shape of `bt_temperature`.

    Source: ours (the paper takes log(1 + b)/b).

    Example:
        >>> worst_gamma(10.0).round(9).item()
        0.288737247
    """
    half = _positive(bt_temperature) / 2
    t = np.minimum(half, 0.02)
    series = t**2 * (1 / 3 - t**2 * (2 / 15 - t**2 * (17 / 315 - t**2 * 62 / 2835)))  # 1 - tanh(t)/t without cancellation
    deficit = np.where(half < 0.02, series, 1 - np.tanh(half) / half)
    return np.arctanh(np.sqrt(deficit)) / half


def unsupported_rlhf_distortion(bt_temperature: ArrayLike) -> Array:
    r"""The worst case found for KL-constrained RLHF whose comparisons fall on alternatives the reference excludes.

    cosh^2(b/2) = 1/(4 sigma'(b)) ~ e^b/4; infinity where it exceeds the range of float64 (b > 1420).

    Returns:
        cosh^2(b/2), the shape of `bt_temperature`.

    Source: ours; the paper (arXiv 2505.23749, Theorem 6) shows growth e^{Omega(b)}.

    Example:
        >>> unsupported_rlhf_distortion(5.0).round(6).item()
        37.604974
    """
    half = _positive(bt_temperature) / 2
    with np.errstate(over="ignore"):
        return np.square(np.cosh(half))


def _positive(bt_temperature: ArrayLike) -> Array:
    b = np.asarray(bt_temperature, float)
    if not (np.isfinite(b) & (b > 0)).all():
        raise InputError("bt_temperature must be finite and above 0: it is the slope of the Bradley-Terry choice")
    return b
