r"""The f-regularised optimum from its stationarity conditions, many problems at once.

The problem is a maximum over the simplex,

    maximise  r.p - beta D_f(p || ref),   D_f(p || ref) = sum_y ref_y f(u_y),   u = p / ref.               (1)

With the multiplier nu of sum p = 1, its stationarity (Karush-Kuhn-Tucker) conditions are

    beta f'(u_y) = r_y - nu  where p_y > 0,   beta f'(0+) >= r_y - nu  where p_y = 0,                      (2)
    sum_y ref_y u_y = 1.                                                                                   (3)

By (2) the whole policy follows from one unknown. It could be nu, but rewards far above beta would cancel
there. The unknown is z = log u at the response of highest reward instead, for which nu drops out:

    f'(u_y) = f'(e^z) - (max r - r_y) / beta.                                                              (4)

The left side of (3) increases with z. The best response has the largest u, which is at least 1 because u
averages 1 over ref, and no probability exceeds 1, so z lies in [0, -log ref] at that response, whatever f is.
(3) is solved for z on this bracket; then nu = max r - beta f'(e^z), without cancellation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError, laws, moderate, reals, together
from distalign.divergences import Divergence, divergence
from distalign.types import Array

_ROUNDS = 150


@dataclass(frozen=True)
class RegularisedOptimum:
    """Optimal policies with their certificate.

    Attributes:
        log_policy: (..., K) log-probabilities; -inf where the divergence lets the optimum drop a response.
        log_ratio: (..., K) log p/ref.
        multiplier: (...) nu, in units of reward.
        mass_defect: (...) |sum p - 1|.
        stationarity: (...) largest |beta f'(u) + nu - r| where p > 0, or excess of r - nu over beta f'(0+)
            where p = 0; in units of reward.
    """

    log_policy: Array
    log_ratio: Array
    multiplier: Array
    mass_defect: Array
    stationarity: Array

    @property
    def policy(self) -> Array:
        """(..., K) probabilities."""
        return np.exp(self.log_policy)


def regularised_policy(
    reward: ArrayLike, ref: ArrayLike, beta: ArrayLike, f: str | Divergence
) -> RegularisedOptimum:
    r"""argmax over the simplex of  r.p - beta D_f(p || ref),  for every row of rewards and every beta.

    Args:
        reward: (..., K) rewards.
        ref: (..., K) reference probabilities, above 0, of sum 1.
        beta: (...) strength of the regularisation, above 0, in units of reward; leading axes of all three
            broadcast.
        f: a divergence of `distalign.divergences` or its name; total_variation has no inverse link and is
            refused.

    Raises:
        InputError: shapes do not fit, ref is not a positive law, beta is not above 0, or f has no inverse
            link.

    Source: arXiv 2309.16240, the stationarity conditions behind its Theorem 1 (the paper's text was not
        seen); the choice of unknown is ours.

    Example:
        >>> best = regularised_policy([[1.0, 0.0], [5.0, 0.0]], [0.5, 0.5], beta=1.0, f="reverse_kl")
        >>> best.policy[:, 0].round(6).tolist(), bool(best.mass_defect.max() < 1e-12)
        ([0.731059, 0.993307], True)
        >>> best = regularised_policy([1.0, 0.0], [0.5, 0.5], beta=[1.0, 0.2], f="reverse_kl")
        >>> best.policy[:, 0].round(6).tolist()
        [0.731059, 0.993307]
    """
    f = divergence(f)
    strength = reals("beta", beta, "(...)", "it is the strength of the regularisation")
    if not (strength > 0).all():
        raise InputError(
            f"beta must be a finite number above 0, got {beta!r}: it is the strength of the regularisation"
        )
    r, log_ref = _rewards(reward, ref)
    r, log_ref, wide = together(reward=r, ref=log_ref, beta=strength[..., None])
    strength = wide[..., 0]
    best = r.argmax(-1)[..., None]
    # By (4), f'(u) of each response lies this far below that of the best one.
    with np.errstate(over="ignore"):
        behind = (np.take_along_axis(r, best, -1) - r) / wide
    if not np.isfinite(behind).all():
        raise InputError("beta must not be so small that differences of reward / beta overflow: raise it")

    def log_ratio(z: Array) -> Array:
        """log u of every response, by (4)."""
        # Of the best response it is z itself: near sup f' the way through the link and back would lose its
        # digits.
        return np.where(behind == 0, z[..., None], f.inverse_link(f.link(z[..., None]) - behind))

    def log_mass(z: Array) -> tuple[Array, Array]:
        """Log of the sum in (3), and its derivative: by (4), it is u f''(u) of the best over its own."""
        log_u = log_ratio(z)
        u = np.exp(log_ref + log_u)
        mass = u.sum(-1)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.log(mass), (u / f.weight(log_u)).sum(-1) * f.weight(z) / mass

    top = -np.take_along_axis(log_ref, best, -1)[..., 0]
    z = _root(log_mass, np.zeros_like(top), top)
    log_u = log_ratio(z)
    nu = r.max(-1) - strength * f.link(z)
    # By how much the answer violates (2).
    defect = wide * f.link(log_u) + nu[..., None] - r
    defect = np.where(np.isfinite(log_u), np.abs(defect), np.maximum(-defect, 0))
    log_p = log_ref + log_u
    return RegularisedOptimum(log_p, log_u, nu, np.abs(np.exp(log_p).sum(-1) - 1), defect.max(-1))


def _root(f: Callable[[Array], tuple[Array, Array]], low: Array, high: Array) -> Array:
    """The root of an increasing f with f(low) <= 0 <= f(high), by Newton's method from above.

    A step that leaves the bracket, and every eighth, is replaced by its middle.
    """
    z = high
    for k in range(_ROUNDS):
        value, slope = f(z)
        low, high = np.where(value > 0, low, z), np.where(value > 0, z, high)
        with np.errstate(invalid="ignore", divide="ignore"):
            newton = z - value / slope
        inside = (newton > low) & (newton < high) & (k % 8 != 7)
        found = np.abs(value) < 1e-13
        if found.all():
            break
        z = np.where(found, z, np.where(inside, newton, (low + high) / 2))
    return z


def _rewards(reward: ArrayLike, ref: ArrayLike) -> tuple[Array, Array]:
    """The rewards and log ref, broadcast, after a check of their shapes and of ref."""
    r = reals("reward", reward, "(..., K)", "give one finite number for each response")
    q = laws("ref", ref, "(..., K)", "a response it never gives has no ratio", above_0=True)
    if q.shape[-1] != r.shape[-1]:
        raise InputError(
            f"reward must be finite and ref one probability for each, got shapes {r.shape} and {q.shape}"
        )
    moderate("reward", r, "take other units")
    return tuple(together(reward=r, ref=np.log(q)))  # type: ignore[return-value]
