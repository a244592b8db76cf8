r"""What transport theory predicts for AOT: population costs in closed form and the central limit of the
plug-in cost.

The cost of two laws U (chosen) and V (rejected) is  \int_0^1 h(Q_U(t) - Q_V(t)) dt  for a convex penalty h:
least squares (margin - x)^2, squared hinge (margin - x)_+^2, hinge (margin - x)_+, logistic log(1 + exp(-beta
x)). For normals Q_U - Q_V has the law of d + tau Z with d = mean_u - mean_v, tau = |sd_u - sd_v|; for
uniforms it is a line in t.

Source: the definitions and the n^{-1/2} guarantee are those of arXiv 2406.05882 (its Corollary 1); the closed
    forms and the
constant of the central limit are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, spence

from distalign.types import Array

GUARANTEED_EXPONENT = -0.5


def gaussian_least_squares(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """a^2 + tau^2 with a = margin - d: the least-squares cost of two normal laws.

    Example:
        >>> round(gaussian_least_squares(0.4, 1.0, 0.0, 1.5, 0.7), 12)
        0.34
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return a**2 + tau**2


def gaussian_squared_hinge(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """(a^2 + tau^2) Phi(a / tau) + a tau phi(a / tau): the squared-hinge cost of two normal laws, sd_u !=
    sd_v.

    Example:
        >>> round(gaussian_squared_hinge(0.0, 1.0, 0.0, 2.0, 0.0), 12)
        0.5
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return (a**2 + tau**2) * float(ndtr(a / tau)) + a * tau * _density(a / tau)


def gaussian_hinge(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """a Phi(a / tau) + tau phi(a / tau): the hinge cost of two normal laws, sd_u != sd_v.

    Example:
        >>> round(gaussian_hinge(0.0, 1.0, 0.0, 2.0, 0.0), 6)
        0.398942
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return a * float(ndtr(a / tau)) + tau * _density(a / tau)


def gaussian_logistic(mean_u: float, sd_u: float, mean_v: float, sd_v: float, beta: float) -> float:
    """E log(1 + exp(-beta (d + tau Z))), by the trapezoidal rule on a fine grid: the logistic cost of two
    normal laws.

    Example:
        >>> round(gaussian_logistic(0.0, 1.0, 0.0, 1.0, 0.1), 6)
        0.693147
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, 0.0)
    z = np.linspace(-12, 12, 20_001)
    weights = np.exp(-z * z / 2)
    return float(weights @ np.logaddexp(0, beta * (a - tau * z)) / weights.sum())


def uniform_least_squares(start: float, slope: float, margin: float) -> float:
    """\\int_0^1 (margin - start - slope t)^2 dt for uniform laws with Q_U(t) - Q_V(t) = start + slope t,
    slope != 0.

    Example:
        >>> round(uniform_least_squares(0.0, 1.0, 0.0), 6)
        0.333333
    """
    a = margin - start
    return (a**3 - (a - slope) ** 3) / (3 * slope)


def uniform_squared_hinge(start: float, slope: float, margin: float) -> float:
    """\\int_0^1 (margin - start - slope t)_+^2 dt for uniform laws, slope != 0.

    Example:
        >>> round(uniform_squared_hinge(-1.0, 2.0, 0.0), 6)
        0.166667
    """
    a = margin - start
    return (max(a, 0) ** 3 - max(a - slope, 0) ** 3) / (3 * slope)


def uniform_hinge(start: float, slope: float, margin: float) -> float:
    """\\int_0^1 (margin - start - slope t)_+ dt for uniform laws, slope != 0.

    Example:
        >>> uniform_hinge(-1.0, 2.0, 0.0)
        0.25
    """
    a = margin - start
    return (max(a, 0) ** 2 - max(a - slope, 0) ** 2) / (2 * slope)


def uniform_logistic(start: float, slope: float, beta: float) -> float:
    """[Li2(-exp(-beta (start + slope))) - Li2(-exp(-beta start))] / (beta slope) for uniform laws, slope !=
    0.

    Example:
        >>> round(uniform_logistic(-1e-3, 2e-3, 1.0), 6)
        0.693147
    """
    ends = np.array([start, start + slope])
    low, high = spence(1 + np.exp(-beta * ends))  # scipy's spence(1 - z) is Li2(z)
    return float((high - low) / (beta * slope))


def gaussian_least_squares_sd(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """sqrt(4 (sd_u^2 + sd_v^2) (a^2 + tau^2 / 2)): limit of sqrt(n) times the deviation of the plug-in
    least-squares cost.

    The plug-in cost is that of n draws of U and n independent draws of V. Ours; a case of `clt_sd`.

    Example:
        >>> round(gaussian_least_squares_sd(0.4, 1.0, 0.0, 1.5, 0.7), 3)
        1.672
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return float(np.sqrt(4 * (sd_u**2 + sd_v**2) * (a**2 + tau**2 / 2)))


def clt_sd(
    derivative: Callable[[Array], Array],
    quantile_u: Callable[[Array], Array],
    quantile_v: Callable[[Array], Array],
    points: int = 200_001,
) -> float:
    r"""sd = sqrt(Var phi(U) + Var psi(V)) of the limit of sqrt(n) (plug-in cost - cost), n draws of each law.

    phi and psi are the optimal potentials: along t they grow by  dphi = h'(Q_U - Q_V) dQ_U  and  dpsi =
    -h'(Q_U - Q_V) dQ_V. Integrated on a grid that is even in the normal quantile of t, so that tails are
    resolved.

    Args:
        derivative: h', the derivative of the penalty.
        quantile_u, quantile_v: quantile functions, (N,) probabilities in (0, 1) -> (N,) values.
        points: size of the grid.

    Source: ours, from the first variation of the transport cost (del Barrio and Loubes' central limit
        theorem).

    Example:
        >>> from scipy.special import ndtri
        >>> sd = clt_sd(lambda x: -2 * (0.7 - x), lambda t: 0.4 + ndtri(t), lambda t: 1.5 * ndtri(t))
        >>> abs(sd - gaussian_least_squares_sd(0.4, 1.0, 0.0, 1.5, 0.7)) < 1e-6
        True
    """
    edges = ndtr(np.linspace(-7.5, 7.5, points))
    u, v = quantile_u(edges), quantile_v(edges)
    slope = derivative((u[1:] + u[:-1] - v[1:] - v[:-1]) / 2)
    return float(np.sqrt(_variance(slope * np.diff(u), edges) + _variance(slope * np.diff(v), edges)))


def null_squared_hinge(n: int) -> float:
    """1 / (6 (n + 1)): expected plug-in cost of n and n draws of one uniform law on [0, 1], squared hinge at
    margin 0.

    The cost itself is 0, and here the plug-in decays like 1/n, twice as fast as the guarantee.

    Example:
        >>> null_squared_hinge(5) * 36
        1.0
    """
    return 1 / (6 * (n + 1))


def null_hinge(n: int) -> float:
    """sqrt(pi / n) / 8, to first order: expected plug-in cost of one uniform law against itself, hinge at
    margin 0.

    Example:
        >>> round(null_hinge(100) * 10, 4)
        0.2216
    """
    return float(np.sqrt(np.pi / n) / 8)


def _gap(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> tuple[float, float]:
    return margin - (mean_u - mean_v), abs(sd_u - sd_v)


def _density(z: float) -> float:
    return float(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))


def _variance(increments: Array, edges: Array) -> float:
    """Variance over t of the function with these increments between the edges; linear on each interval."""
    values = np.concatenate([[0.0], np.cumsum(increments)])
    values -= values[len(values) // 2]
    weights = np.diff(edges) / (edges[-1] - edges[0])
    mean = weights @ (values[1:] + values[:-1]) / 2
    a, b = values[:-1] - mean, values[1:] - mean
    return float(weights @ (a * a + a * b + b * b) / 3)
