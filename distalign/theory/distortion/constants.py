"""Worst-case distortion of alignment as a function of the Bradley-Terry temperature.

Users have utilities in [0, 1] and prefer x to y with probability sigma(b (u(x) - u(y))), b =
`bt_temperature`. The distortion of a rule is the best average utility in its class over the average utility
it achieves, 1 or more. With s(t) = sigma(t) - 1/2 = tanh(t/2)/2 everything below is a ratio of values of s.
The functions take one temperature or an array of them, are accurate from 1e-8 to 1e8, and raise `InputError`
for temperatures that are not positive and finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import FLAG, POSITIVE, UNIT, checked, quantity
from distalign.checks import InputError
from distalign.types import Array


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def minimax_distortion(bt_temperature: ArrayLike) -> Array:
    """The smallest worst-case distortion that any rule can have.

        C(b) = sigma'(0) / (s(b)/b) = (b/2) coth(b/2)  = 1 + b^2/12 - ...  ~ b/2

    Nash learning from human feedback and the maximal lottery reach it.

    Returns:
        C, the shape of `bt_temperature`.

    Source: Gölz, Haghtalab, Yang, "Distortion of AI Alignment", arXiv 2505.23749: Theorem 3 (lower bound),
        Corollary 4 and Theorem 7 (upper bounds).

    Example:
        >>> minimax_distortion([1e-6, 5.0, 50.0]).tolist()
        [1.0000000000000833, 2.533918274531521, 25.0]
    """
    half = _positive(bt_temperature) / 2
    # tanh rounds to its argument for small ones, where the quotient would lose b^2/12.
    return np.where(half < 1e-4, 1 + half**2 / 3, half / np.tanh(np.maximum(half, 1e-4)))


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def borda_distortion(bt_temperature: ArrayLike) -> Array:
    """The exact worst-case distortion of the Borda rule, and so of RLHF without a KL constraint.

        Bd(b) = C(b) sup_{0<g<1} [1 - g + s(bg)/s(b)]  ~ b - (1 + log 2b)/2 for large b

    It is the worst case over all populations, three or more alternatives and all product comparison
    distributions.

    Returns:
        Bd, the shape of `bt_temperature`.

    Source: lower bound, arXiv 2505.23749, Theorem 12; that it is exact is ours (by linear programming
        duality).

    Example:
        >>> borda_distortion(10.0).round(9).item()
        8.029635627
    """
    g, half = worst_gamma(bt_temperature), _positive(bt_temperature) / 2
    return minimax_distortion(bt_temperature) * (1 - g + np.tanh(half * g) / np.tanh(half))


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def worst_gamma(bt_temperature: ArrayLike) -> Array:
    """The g that attains `borda_distortion`.

    It solves sigma'(b g) = s(b)/b, that is

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
    series = t**2 * (
        1 / 3 - t**2 * (2 / 15 - t**2 * (17 / 315 - t**2 * 62 / 2835))
    )  # 1 - tanh(t)/t without cancellation
    deficit = np.where(half < 0.02, series, 1 - np.tanh(half) / half)
    return np.arctanh(np.sqrt(deficit)) / half


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def unsupported_rlhf_distortion(bt_temperature: ArrayLike) -> Array:
    """The largest distortion found for KL-constrained RLHF when comparisons fall on excluded alternatives.

        cosh^2(b/2) = 1/(4 sigma'(b)) ~ e^b/4

    These are alternatives to which the reference gives no mass. The value is infinity where it exceeds the
    range of float64 (b > 1420).

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


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def exponential_rlhf_distortion(bt_temperature: ArrayLike) -> Array:
    """Distortion of KL-constrained RLHF on the paper's exponential family, with excluded clones.

        max(1, e^b/(10 b))

    It is the limit of a reference that excludes the clones. A share 10/(10 + e^b) of the users gives 1 to the
    alternative RLHF picks, the others give 1/b to the one it should pick.

    Returns:
        The ratio, the shape of `bt_temperature`; infinity where it exceeds the range of float64.

    Source: the family is that of arXiv 2505.23749, Appendix F.2 (Theorem 6: e^{Omega(b)}); the exact limit is
        ours.

    Example:
        >>> exponential_rlhf_distortion([2.0, 10.0]).round(6).tolist()
        [1.0, 220.264658]
    """
    b = _positive(bt_temperature)
    with np.errstate(over="ignore"):
        return np.maximum(np.exp(b) / (10 * np.maximum(b, 1)), 1.0)  # utilities end at 1, where 1/b would not


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each,
    alternatives=quantity(2).each,
)
def correlated_rlhf_distortion(bt_temperature: ArrayLike, alternatives: ArrayLike) -> Array:
    """How RLHF's distortion grows with the number m of alternatives when pairs are not drawn independently.

        b sqrt(m) / (3 sqrt 6), asymptotically in m on the family of Lemma 15

    So no bound holds for all m.

    Args:
        bt_temperature: b.
        alternatives: m, at least 2; broadcasts with `bt_temperature`.

    Returns:
        The asymptote, of the common shape.

    Raises:
        InputError: a temperature is not positive and finite, or there are fewer than two alternatives.

    Source: unboundedness is arXiv 2505.23749, Theorem 9; the rate is ours (average utilities A obey dA/dm =
        -b^2 A^3/12).

    Example:
        >>> correlated_rlhf_distortion(10.0, 1000).round(3).item()
        43.033
    """
    m = np.asarray(alternatives, float)
    if not (m >= 2).all():
        raise InputError("alternatives must be at least 2")
    return _positive(bt_temperature) * np.sqrt(m) / (3 * 6**0.5)


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each,
    utility=UNIT.each,
    other=UNIT.each,
)
def linearised_margin(bt_temperature: ArrayLike, utility: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    """Bounds on p(x over y) - 1/2 that are linear in the average utilities of x and y.

        b (l u_x - L u_y)  <=  p(x over y) - 1/2  <=  b (L u_x - l u_y),   L = 1/4,  l = s(b)/b

    For one user s(b (u_x - u_y)) lies between the chord and the tangent of s on [0, b]; averaging keeps both.

    Args:
        bt_temperature: b.
        utility: average utility of x, in [0, 1].
        other: average utility of y; all three broadcast.

    Returns:
        (lower, upper) limits.

    Source: arXiv 2505.23749, Lemma 1.

    Example:
        >>> [limit.round(4).item() for limit in linearised_margin(4.0, 1.0, 0.0)]
        [0.482, 1.0]
    """
    b, x, y = _positive(bt_temperature), np.asarray(utility, float), np.asarray(other, float)
    chord = np.tanh(b / 2) / 2
    return chord * x - b / 4 * y, b / 4 * x - chord * y


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each, equal=FLAG)
def borda_multipliers(bt_temperature: ArrayLike, *, equal: bool = False) -> tuple[Array, Array, Array]:
    """Dual multipliers (v, w, t) that prove an upper bound t on the distortion of Borda.

    For all utilities a, y, c in [0, 1]

        a + v [s(b (c - y)) - s(b (a - y))] + w s(b (c - y))  <=  t c,        t = (v + w) b / 4.    (1)

    Let a, c, y be a user's utilities of the best, the winning and an alternative drawn from mu. Borda's
    winner c has a Borda score no lower than a's and no lower than 1/2, so the mean of the left side is at
    least the best average utility. With v = 1/s(b) and w = sup_g [s(b g)/s(b) - g]/s(b) the bound is t =
    Bd(b); with w = v (`equal`) it is t = 2 C(b).

    Args:
        bt_temperature: b.
        equal: take w = v.

    Returns:
        (v, w, t), each of the shape of `bt_temperature`.

    Source: ours; the bound 2 C(b) is that of Alipour and Goyal, arXiv 2602.11152.

    Example:
        >>> [t.round(6).item() for t in (borda_multipliers(10.0)[2], borda_multipliers(10.0, equal=True)[2])]
        [8.029636, 10.000908]
    """
    b, g = _positive(bt_temperature), worst_gamma(bt_temperature)
    s = np.tanh(b / 2) / 2
    v = 1 / s
    w = v if equal else (np.tanh(b * g / 2) / (2 * s) - g) / s
    return v, w, (v + w) * b / 4


@checked(bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each)
def unsupported_multiplier(bt_temperature: ArrayLike) -> tuple[Array, Array]:
    """Dual multiplier (v, t) that proves `unsupported_rlhf_distortion` for reachable a and c.

        a + v [s(b (c - y)) - s(b (a - y))]  <=  t c   for a, y, c in [0, 1],
        v = 1/(b sigma'(b)),  t = v b/4 = cosh^2(b/2),

    because sigma' is smallest at b on [0, b]. Comparisons against an alternative y that the reference
    excludes give c a reward no lower than a's exactly if the bracket is not negative on average.

    Returns:
        (v, t), each of the shape of `bt_temperature`.

    Source: ours.

    Example:
        >>> [x.round(6).item() for x in unsupported_multiplier(5.0)]
        [30.083979, 37.604974]
    """
    t = unsupported_rlhf_distortion(bt_temperature)
    return 4 * t / _positive(bt_temperature), t


def _positive(bt_temperature: ArrayLike) -> Array:
    b = np.asarray(bt_temperature, float)
    if not (np.isfinite(b) & (b > 0)).all():
        raise InputError(
            "bt_temperature must be finite and above 0: it is the slope of the Bradley-Terry choice"
        )
    return b
