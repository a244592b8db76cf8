"""Robust fits whose radius shrinks with n: how far the ball moves the fit, and whether it holds the true law.

A small ball moves the fit from DPO's solution by a multiple of rho^{1/2} (KL), of rho (Wasserstein of order
1, and of order 2 on R^d) or of rho^2 (order 2 on a finite space). Together with the noise of DPO that is the
fit's distance to theta*. All of it is ours.

The notation is that of `distalign.theory.robust.kldpo`: l = log(1 + exp(-beta <theta, v>)), theta measured
from the reference's parameter.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import chi2

from distalign.arguments import (
    COST,
    INSIDE_UNIT,
    LAW,
    POSITIVE,
    REAL,
    checked,
    moderate_margins,
    quantity,
    spanning,
    whole_number,
)
from distalign.theory.robust.rates import losses_at
from distalign.types import Array


@checked(spanning, moderate_margins, v=REAL.of("m d"), p=LAW.of("m"), theta=REAL.of("d"), beta=POSITIVE)
def kl_drift(v: Array, p: Array, theta: Array, beta: float = 1.0) -> Array:
    """Limit (d,) of (theta_rho - theta) / rho^{1/2} for KL balls, at DPO's minimiser theta.

        -2^{1/2} H^{-1} grad sd(l)

    On Bradley-Terry data that the class fits it is -(2 / Var l)^{1/2} theta, the small-radius limit of the
    shrinkage factor.

    Example:
        >>> v, p, theta = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1]), np.array([np.log(9)])
        >>> spread = np.sqrt(0.9 * 0.1) * np.log(9)  # of the two losses
        >>> bool(np.allclose(kl_drift(v, p, theta), -np.sqrt(2) * theta / spread))
        True
    """
    losses, gradients, curvatures = losses_at(v, theta, beta)
    centred = losses - p @ losses
    slope = np.sqrt(2) * ((p * centred) @ gradients) / np.sqrt(p @ centred**2)
    return -np.linalg.solve(v.T @ ((p * curvatures)[:, None] * v), slope)


@checked(spanning, moderate_margins, v=REAL.of("m d"), p=LAW.of("m"), theta=REAL.of("d"), beta=POSITIVE)
def euclidean_drift(v: Array, p: Array, theta: Array, beta: float = 1.0) -> Array:
    """Limit (d,) of (theta_rho - theta) / rho for Wasserstein balls of order 2 on R^d.

        -H^{-1} grad (E ||grad_v l||^2)^{1/2}

    Example:
        >>> v, p, theta = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1]), np.array([np.log(9)])
        >>> bool(euclidean_drift(v, p, theta)[0] < 0)  # towards the reference
        True
    """
    _, _, curvatures = losses_at(v, theta, beta)
    wrong, size = expit(-beta * v @ theta), np.linalg.norm(theta)
    root = np.sqrt(p @ wrong**2)
    slope = beta * root * theta / size - beta**2 * size / root * ((p * wrong**2 * (1 - wrong)) @ v)
    return -np.linalg.solve(v.T @ ((p * curvatures)[:, None] * v), slope)


@checked(
    spanning, moderate_margins, v=REAL.of("m d"), p=LAW.of("m"), cost=COST, theta=REAL.of("d"), beta=POSITIVE
)
def transport_drift(v: Array, p: Array, cost: Array, theta: Array, beta: float = 1.0) -> tuple[Array, float]:
    """Limit (d,) of (theta_rho - theta) / rho^q for balls of order q on a finite space, and its range.

    A small ball spends its whole budget on the move that gains most for its cost, the pair (i, j) of the
    largest (l_j - l_i) / c_ij. The drift is  -H^{-1} (grad l_j - grad l_i) / c_ij  until the mass p_i is used
    up, at rho^q = p_i c_ij, which is the second value returned.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        cost: (m, m) d**q between atoms.
        theta: (d,) DPO's minimiser.
        beta: scale of the margin.

    Example:
        >>> v, p, theta = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1]), np.array([np.log(9)])
        >>> drift, last = transport_drift(v, p, np.array([[0.0, 2.0], [2.0, 0.0]]), theta)
        >>> float(drift[0].round(6)), last  # d logit(p - rho / 2) / d rho at p = 0.9
        (-5.555556, 1.8)
    """
    losses, gradients, curvatures = losses_at(v, theta, beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where((cost > 0) & (p[:, None] > 0), (losses - losses[:, None]) / cost, -np.inf)
    i, j = np.unravel_index(gain.argmax(), gain.shape)
    slope = (gradients[j] - gradients[i]) / cost[i, j]
    return -np.linalg.solve(v.T @ ((p * curvatures)[:, None] * v), slope), float(p[i] * cost[i, j])


@checked(n=quantity(), radius=POSITIVE, atoms=whole_number(2))
def kl_coverage(n: float, radius: float, atoms: int) -> float:
    """Limit of the probability that KL(P || P_n) <= radius.

    2 n KL is chi-squared with atoms - 1 degrees of freedom.

    Example:
        >>> round(kl_coverage(1e6, covering_radius(1e6, 36), 36), 6)
        0.95
    """
    return float(chi2.cdf(2 * n * radius, atoms - 1))


@checked(n=quantity(), atoms=whole_number(2), level=INSIDE_UNIT)
def covering_radius(n: float, atoms: int, level: float = 0.95) -> float:
    """The KL radius that holds the true law with probability `level` in the limit.

    It is a quantile of the chi-squared law over 2 n.

    Example:
        >>> round(1000 * covering_radius(1000, 36), 3)
        24.901
    """
    return float(chi2.ppf(level, atoms - 1) / (2 * n))
