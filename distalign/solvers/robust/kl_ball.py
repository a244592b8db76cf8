"""The worst law of a Kullback-Leibler ball for given losses, many problems at once.

Source: the dual of the KL ball, arXiv 2502.01930, Lemma 12; the search is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, laws, moderate, positive, reals, together
from distalign.types import Array

_Mask = NDArray[np.bool_]

_ROUNDS = 100


@dataclass(frozen=True)
class KLWorstCase:
    """The worst law of a Kullback-Leibler ball, one for each vector of losses.

    Attributes:
        value: (...) the robust loss, sup of E_Q l over the ball, as the dual function at the multiplier.
        weights: (..., m) the worst law Q; E_Q l is the primal value.
        multiplier: (...) dual multiplier, in units of loss per nat; 0 where the ball holds the law of the
            worst atoms alone.
    """

    value: Array
    weights: Array
    multiplier: Array


def kl_worst_case(losses: ArrayLike, p: ArrayLike, radius: float) -> KLWorstCase:
    r"""The law Q that maximises E_Q l over KL(Q || P) <= radius, for many vectors of losses.

    The dual is  min over lam >= 0 of  lam radius + lam log E_P exp(l / lam).  If  log P(l = max l) + radius
    >= 0  the ball holds P conditioned on the worst atoms: the value is the largest loss and the multiplier 0.
    Otherwise Q = P exp(l / lam) / E_P exp(l / lam)  with KL(Q || P) = radius.

    Args:
        losses: (..., m) losses.
        p: (..., m) laws, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: radius in nats, above 0.

    Raises:
        InputError: the shapes do not fit, a loss is not finite, p is no law, or the radius is not above 0.

    Source: arXiv 2502.01930, its lemma on KL duality; the branch at multiplier 0 is Hu and Hong's condition.

    Example:
        >>> worst = kl_worst_case([[0.0, 1.0], [0.0, 2.0]], [0.5, 0.5], 0.1)
        >>> worst.value.round(4).tolist(), worst.multiplier.round(4).tolist()
        ([0.7198, 1.4396], [1.0599, 2.1199])
    """
    positive("radius", radius, "it is the largest KL divergence, in nats, of the laws to be robust against")
    losses, p, top, width = with_range(losses, p)
    # Losses equal up to rounding count as equal: their order is noise and would send the multiplier to 0.
    at_top = (p > 0) & (losses >= top - 1e-12 * np.maximum(width, np.abs(top)))
    mass = np.where(at_top, p, 0).sum(-1)
    free = np.log(mass) + radius < 0
    scaled = np.where((p > 0) & free[..., None], (losses - top) / np.where(width > 0, width, 1), 0)
    slopes = _tilt(scaled, p, radius, free)
    mean = (p * scaled).sum(-1)
    log_mean, q = _log_mean(scaled - mean[..., None], p, slopes)
    multiplier = np.where(free, width[..., 0] / slopes, 0)
    weights = np.where(free[..., None], q, np.where(at_top, p, 0) / mass[..., None])
    return KLWorstCase(
        top[..., 0] + width[..., 0] * mean + multiplier * (radius + log_mean), weights, multiplier
    )


def with_range(losses: ArrayLike, p: ArrayLike) -> tuple[Array, Array, Array, Array]:
    """Losses and laws (..., m), checked, with the largest loss that has mass and the range of those (..., 1).

    Raises:
        InputError: the shapes do not fit, a loss is not finite, or p is no law.

    Example:
        >>> losses, p, largest, width = with_range([0.0, 1.0, 3.0], [0.5, 0.5, 0.0])
        >>> largest.tolist(), width.tolist()
        ([1.0], [1.0])
    """
    losses = reals("losses", losses, "(..., m)", "the robust loss of an infinite loss is infinite")
    p = laws("p", p, "(..., m)")
    if losses.shape[-1] != p.shape[-1]:
        raise InputError(
            f"p must hold one probability for each atom, got losses {losses.shape} and p {p.shape}"
        )
    losses, p = together(losses=losses, p=p)
    moderate("losses", losses, "take other units")
    top = np.where(p > 0, losses, -np.inf).max(-1, keepdims=True)
    width = top - np.where(p > 0, losses, np.inf).min(-1, keepdims=True)
    return losses, p, top, width


def _log_mean(centred: Array, p: Array, slope: Array) -> tuple[Array, Array]:
    """`tilted` for losses of mean zero, whose log-mean is of second order in a small slope.

    There it is computed by expm1 and log1p, which keep the digits that a difference of exponentials loses.
    """
    log_mean, q = tilted(centred, p, slope)
    exponents = slope[..., None] * centred
    near = np.abs(exponents).max(-1) < 0.5
    second = np.log1p((p * np.expm1(np.where(near[..., None], exponents, 0))).sum(-1))
    return np.where(near, second, log_mean), q


def tilted(losses: Array, p: Array, slope: Array) -> tuple[Array, Array]:
    """log E_P exp(slope l) and the law proportional to P exp(slope l), both safe for any slope.

    Example:
        >>> log_mean, q = tilted(np.array([0.0, 1000.0]), np.array([0.5, 0.5]), np.array(2.0))
        >>> round(float(log_mean), 3), q.tolist()
        (1999.307, [0.0, 1.0])
    """
    exponents = slope[..., None] * losses
    top = np.where(p > 0, exponents, -np.inf).max(-1, keepdims=True)
    unnormalised = p * np.exp(np.minimum(exponents - top, 0))
    total = unnormalised.sum(-1)
    return top[..., 0] + np.log(total), unnormalised / total[..., None]


def _tilt(losses: Array, p: Array, radius: float, free: _Mask) -> Array:
    """The slope t = 1/multiplier at which the tilted law lies at KL = radius, for losses in [-1, 0].

    Newton's method is applied to log KL as a function of log t, which has slope 2 near 0 and flattens where
    KL saturates. The bracket starts at KL <= t^2 / 8 (Hoeffding), and a step that leaves it is replaced by a
    bisection. Where `free` is false the slope is not sought, and 1 is returned.
    """
    low = np.full(free.shape, 0.5 * np.log(8 * radius))
    high = np.full(free.shape, np.inf)
    x = low.copy()
    for _ in range(_ROUNDS):
        t = np.exp(x)
        log_mean, q = tilted(losses, p, t)
        mean = (q * losses).sum(-1)
        divergence = np.where(free, t * mean - log_mean, radius)
        growth = t**2 * (q * (losses - mean[..., None]) ** 2).sum(-1)
        low, high = np.where(divergence < radius, x, low), np.where(divergence > radius, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x + np.log(radius / divergence) * divergence / growth
        middle = np.where(np.isfinite(high), (low + high) / 2, low + 2)
        new = np.where((newton >= low) & (newton <= np.minimum(high, low + 4)), newton, middle)
        new = np.where(free & (divergence != radius), new, x)
        if np.abs(new - x).max(initial=0) < 1e-14:
            break
        x = new
    return np.where(free, np.exp(x), 1)
