r"""The worst law of a chi-square ball for given losses, many problems at once and without iteration.

The ball holds the laws Q with  D(Q || P) = E_P (dQ/dP - 1)^2 / 2 <= rho.  With the factor 1/2 a nearby law
has the divergence that KL gives it, so radii of the two balls compare.

The dual is  inf over eta of  eta + sqrt(1 + 2 rho) sqrt(E_P (l - eta)_+^2),  and the worst law is
proportional to P (l - eta)_+: the atoms with l <= eta lose all their mass. Let A be the mass of the others
under P, and m and v the mean and the variance of their losses. Solved for eta, and put in, the dual is

    eta = m - sqrt(v / c),   value = m + sqrt(c v),   c = (1 + 2 rho) A - 1.                               (1)

As long as no atom loses all, A = 1 and the value is  E_P l + sqrt(2 rho Var_P l).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import positive
from distalign.solvers.robust.kl_ball import with_range
from distalign.types import Array


@dataclass(frozen=True)
class Chi2WorstCase:
    """The worst law of a chi-square ball, one for each vector of losses.

    Attributes:
        value: (...) the robust loss, sup of E_Q l over the ball.
        weights: (..., m) the worst law Q.
        threshold: (...) eta of the dual: atoms whose loss is not above it have no mass under Q. It is the
            largest loss where the ball holds P conditioned on the worst atoms.
    """

    value: Array
    weights: Array
    threshold: Array


def chi2_worst_case(losses: ArrayLike, p: ArrayLike, radius: float) -> Chi2WorstCase:
    r"""The law Q that maximises E_Q l over  E_P (dQ/dP - 1)^2 / 2 <= radius,  for many vectors of losses.

    The losses are sorted; of the sets of the k worst atoms, the right one is that whose eta by (1) lies below
    all its losses and above the next one. If (1 + 2 radius) P(l = max l) >= 1 the ball holds P conditioned on
    the worst atoms, and the value is the largest loss.

    Args:
        losses: (..., m) losses.
        p: (..., m) laws, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: rho, above 0.

    Raises:
        InputError: the shapes do not fit, a loss is not finite, p is no law, or the radius is not above 0.

    Source: the dual is that of Duchi and Namkoong, arXiv 1810.08750, for the Cressie-Read power 2 (from
        memory), and its use for preferences that of DRO-REBEL, arXiv 2509.19104 (abstract); form (1) and the
        sorting are textbook.

    Example: 1/2 + sqrt(2 radius / 4), and from radius 1/2 on the largest loss.
        >>> chi2_worst_case([[0.0, 1.0]] * 2, [0.5, 0.5], 0.02).value.round(12).tolist()
        [0.6, 0.6]
        >>> float(chi2_worst_case([0.0, 1.0], [0.5, 0.5], 0.5).value)
        1.0
    """
    positive("radius", radius, "it is the largest chi-square divergence of the laws to be robust against")
    losses, p, top, width = with_range(losses, p)
    x = np.where(p > 0, (losses - top) / np.where(width > 0, width, 1), -2.0)
    # Losses equal up to rounding count as equal: their order is noise.
    x = np.where(x >= -1e-12 * np.maximum(1, np.abs(top) / np.where(width > 0, width, 1)), 0.0, x)
    on, collapsed = _active(x, p, radius)
    mass, mean, variance = moments(x, np.where(on, p, 0))
    price = np.where(collapsed, 1, 2 * radius * mass - np.where(on, 0, p).sum(-1))
    variance = np.where(collapsed, 0, variance)
    with np.errstate(over="ignore"):
        threshold = mean - np.sqrt(variance / price)
    slope = np.sqrt(price / np.where(variance > 0, variance, np.inf))
    excess = np.where(on, p, 0) * np.maximum(1 + slope[..., None] * (x - mean[..., None]), 0)
    scale, shift = width[..., 0], top[..., 0]
    return Chi2WorstCase(
        shift + scale * (mean + np.sqrt(price * variance)),
        excess / excess.sum(-1, keepdims=True),
        shift + scale * threshold,
    )


def moments(x: Array, p: Array) -> tuple[Array, Array, Array]:
    """Mass (...) of the measure p (..., m), and mean and variance of x under p made a law.

    Source: elementary; m, A and v of (1).

    Example:
        >>> [float(a) for a in moments(np.array([0.0, 1.0, 5.0]), np.array([0.25, 0.25, 0.0]))]
        [0.5, 0.5, 0.25]
    """
    mass = p.sum(-1)
    mean = (p * x).sum(-1) / mass
    return mass, mean, (p * (x - mean[..., None]) ** 2).sum(-1) / mass


def _active(x: Array, p: Array, radius: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The atoms that keep mass, (..., m), and where only the worst ones do, (...); the largest x is 0."""
    order = np.argsort(-x, -1, kind="stable")
    ordered, q = np.take_along_axis(x, order, -1), np.take_along_axis(p, order, -1)
    mass, first, second = q.cumsum(-1), (q * ordered).cumsum(-1), (q * ordered**2).cumsum(-1)
    # c of (1), less the mass that is left out, which for a small radius is more exact than 1 - A.
    price = 2 * radius * mass - np.maximum(q[..., ::-1].cumsum(-1)[..., ::-1] - q, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = first / mass
        eta = mean - np.sqrt(np.maximum(second / mass - mean**2, 0) / price)
    following = np.concatenate([ordered[..., 1:], np.full((*x.shape[:-1], 1), -np.inf)], -1)
    # The right set is the first whose eta is not below the next loss; atoms of equal loss stay together.
    right = (price > 0) & (eta >= following) & (ordered > following)
    least = np.take_along_axis(ordered, right.argmax(-1)[..., None], -1)
    return x >= least, least[..., 0] == 0
