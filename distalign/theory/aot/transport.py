r"""What transport theory predicts for AOT: a population cost and the central limit of its estimate.

The cost of two laws U (chosen) and V (rejected) is

    C = \int_0^1 h(Q_U(t) - Q_V(t)) dt                                                  (1)

for a convex penalty h, for instance least squares (margin - x)^2. Its plug-in estimate C_n sorts n draws of U
and n independent draws of V and takes the mean of h over the sorted pairs.

Why C_n has a central limit. By duality the cost is a maximum, max E phi(U) + E psi(V) over the potentials
with phi(x) + psi(y) <= h(x - y). A maximum changes to first order only through the laws in it and not through
its maximiser, so replacing the laws by samples changes the cost by

    C_n - C = (1/n) \sum_i (phi(u_i) - E phi(U)) + (1/n) \sum_i (psi(v_i) - E psi(V)) + o(n^{-1/2})   (2)

with the optimal phi and psi held fixed. These are means of independent terms: sqrt(n) (C_n - C) is normal in
the limit with variance Var phi(U) + Var psi(V). The potentials follow from (1): moving the quantile Q_U(t) by
dx changes the cost by h'(Q_U(t) - Q_V(t)) dx, so along t

    dphi = h'(Q_U - Q_V) dQ_U   and   dpsi = -h'(Q_U - Q_V) dQ_V.                                (3)

Where h' = 0 almost everywhere on the optimal coupling, as for the squared hinge at a law against itself, the
variance is 0 and the estimate converges faster than n^{-1/2}.

Source: the definitions and the n^{-1/2} guarantee are those of arXiv 2406.05882 (its Corollary 1); the closed
    forms and the constant of the central limit are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from distalign.arguments import FUNCTION, NONNEGATIVE, REAL, checked, quantity, whole_number
from distalign.types import Array

GUARANTEED_EXPONENT = -0.5


@checked(
    mean_u=REAL.elementwise,
    sd_u=NONNEGATIVE.elementwise,
    mean_v=REAL.elementwise,
    sd_v=NONNEGATIVE.elementwise,
    margin=REAL.elementwise,
)
def gaussian_least_squares(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """a^2 + tau^2: the least-squares cost of two normal laws.

    Here a = margin - (mean_u - mean_v) and tau = |sd_u - sd_v|: Q_U - Q_V has the law of mean_u - mean_v +
    tau Z.

    Example:
        >>> round(gaussian_least_squares(0.4, 1.0, 0.0, 1.5, 0.7), 12)
        0.34
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return a**2 + tau**2


@checked(mean_u=REAL, sd_u=NONNEGATIVE, mean_v=REAL, sd_v=NONNEGATIVE, margin=REAL)
def gaussian_least_squares_sd(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> float:
    """Standard deviation in the central limit of the plug-in least-squares cost of two normal laws.

        sqrt(4 (sd_u^2 + sd_v^2) (a^2 + tau^2 / 2)),   a and tau as in `gaussian_least_squares`

    It is the limit of sqrt(n) times the deviation of the cost of n draws of U and n independent draws of V.
    Ours; a case of `clt_sd`.

    Example:
        >>> round(gaussian_least_squares_sd(0.4, 1.0, 0.0, 1.5, 0.7), 3)
        1.672
    """
    a, tau = _gap(mean_u, sd_u, mean_v, sd_v, margin)
    return float(np.sqrt(4 * (sd_u**2 + sd_v**2) * (a**2 + tau**2 / 2)))


@checked(derivative=FUNCTION, quantile_u=FUNCTION, quantile_v=FUNCTION, points=whole_number(3, 1e8))
def clt_sd(
    derivative: Callable[[Array], Array],
    quantile_u: Callable[[Array], Array],
    quantile_v: Callable[[Array], Array],
    points: int = 200_001,
) -> float:
    """Standard deviation of the limit of sqrt(n) (plug-in cost - cost), with n draws of each law.

        sd = sqrt(Var phi(U) + Var psi(V)),   phi and psi the optimal potentials of Eq. (3)

    The potentials are integrated on a grid that is equidistant in the normal quantile of t, so that tails are
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
    # dphi and dpsi of Eq. (3), whose sign does not matter for the variance
    return float(np.sqrt(_variance(slope * np.diff(u), edges) + _variance(slope * np.diff(v), edges)))


@checked(n=quantity().elementwise)
def null_squared_hinge(n: int) -> float:
    """1 / (6 (n + 1)): expected squared-hinge value, margin 0, of n and n draws of one uniform law on [0, 1].

    The cost itself is 0, and here the plug-in value decays like 1/n, twice as fast as the guarantee.

    Example:
        >>> null_squared_hinge(5) * 36
        1.0
    """
    return 1 / (6 * (n + 1))


def _gap(mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float) -> tuple[float, float]:
    return margin - (mean_u - mean_v), abs(sd_u - sd_v)


def _variance(increments: Array, edges: Array) -> float:
    """Variance over t of the function with these increments between the edges, linear on each interval."""
    values = np.concatenate([[0.0], np.cumsum(increments)])
    values -= values[len(values) // 2]
    weights = np.diff(edges) / (edges[-1] - edges[0])
    mean = weights @ (values[1:] + values[:-1]) / 2
    a, b = values[:-1] - mean, values[1:] - mean
    return float(weights @ (a * a + a * b + b * b) / 3)
