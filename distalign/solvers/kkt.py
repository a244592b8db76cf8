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

Three divergences need no search in logarithms. With b_y = (max r - r_y) / beta and w = e^-z, (4) says

    reverse KL        u_y = e^-b_y / w,                    so that w = sum_y ref_y e^-b_y,                 (5)
    forward KL        u_y = 1 / (w + b_y),                                                                 (6)
    Jensen-Shannon    u_y = e^-b_y / (w + 1 - e^-b_y).                                                     (7)

In (6) and (7) u_y = t_y / (w + c_y) with c >= 0, so (3) is a secular equation in w. Its left side m(w) is at
least 1 where w is ref at the best response. 1/m is a weighted harmonic mean of the w + c_y and therefore
concave: Newton's method for 1/m = 1 rises from there to the root and never passes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError, laws, moderate, reals, together
from distalign.divergences import FORWARD_KL, JENSEN_SHANNON, REVERSE_KL, Divergence, divergence
from distalign.types import Array

_ROUNDS = 150
_SHORT = 64  # responses up to which a sum over them one by one is as exact as any

_Solution = tuple[Array, Array, Callable[[], Array]]  # z, the policy, and a function that gives log u


@dataclass(frozen=True)
class RegularisedOptimum:
    """Optimal policies; their logarithms and their certificate are computed when they are first asked for.

    Attributes:
        policy: (..., K) probabilities; 0 where the divergence lets the optimum drop a response, or where
            it is below 1e-200.
        multiplier: (...) nu, in units of reward.
    """

    policy: Array
    multiplier: Array
    _log_ratio: Callable[[], Array]
    _problem: tuple[Array, Array, Array, Divergence]  # reward and ref (..., K), beta (..., 1), f

    @cached_property
    def log_ratio(self) -> Array:
        """(..., K) log p/ref; -inf where the divergence lets the optimum drop a response."""
        return self._log_ratio()

    @cached_property
    def log_policy(self) -> Array:
        """(..., K) log-probabilities; -inf where the divergence lets the optimum drop a response."""
        return np.log(self._problem[1]) + self.log_ratio

    @cached_property
    def mass_defect(self) -> Array:
        """(...) |sum p - 1|."""
        return np.abs(self.policy.sum(-1) - 1)

    @cached_property
    def stationarity(self) -> Array:
        """(...) by how much (2) is violated, in units of reward.

        It is the largest |beta f'(u) + nu - r| where p > 0, or the excess of r - nu over beta f'(0+) where
        p = 0.
        """
        reward, _, beta, f = self._problem
        defect = beta * f.link(self.log_ratio) + self.multiplier[..., None] - reward
        return np.where(np.isfinite(self.log_ratio), np.abs(defect), np.maximum(-defect, 0)).max(-1)


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
    r, q = _rewards(reward, ref)
    r, q, wide = together(reward=r, ref=q, beta=strength[..., None])
    # Short rows are added up across the problems, so the problems lie next to each other.
    r = np.array(r, order="F" if r.shape[-1] <= _SHORT else "C")
    top = r.max(-1)
    # By (4), f'(u) of each response lies this far below that of the best one.
    with np.errstate(over="ignore"):
        behind = top[..., None] - r
        behind /= wide
    if not np.isfinite(behind.max(initial=0)):
        raise InputError("beta must not be so small that differences of reward / beta overflow: raise it")
    solver = _SOLVERS.get(f.inverse_link, _by_bracket)
    z, policy, log_ratio = solver(behind, q, f)
    if z.max(initial=0) > 200:  # e^-b may have left the range of floats where the probability has not
        policy = np.exp(np.log(q) + log_ratio())
    return RegularisedOptimum(policy, top - wide[..., 0] * f.link(z), log_ratio, (r, q, wide, f))


def _exponential(behind: Array, ref: Array, _: Divergence) -> _Solution:
    """The closed form (5)."""
    policy = np.exp(-behind)
    policy *= ref
    w = policy.sum(-1)
    policy /= w[..., None]
    z = -np.log(w)
    return z, policy, lambda: z[..., None] - behind


def _forward_kl(behind: Array, ref: Array, _: Divergence) -> _Solution:
    """(6), where t = 1 and c = b."""
    w, policy = _secular(ref, behind, _of_best(behind, ref))
    return -np.log(w), policy, lambda: -np.log(w[..., None] + behind)


def _jensen_shannon(behind: Array, ref: Array, _: Divergence) -> _Solution:
    """(7), where t = e^-b and c = 1 - e^-b."""
    start = _of_best(behind, ref)
    t = np.exp(-behind)
    # As w + c is at least the start, the rounding of 1 - t is harmless unless that is small.
    poles = 1 - t if start.min(initial=1) > 0.01 else -np.expm1(-behind)
    t *= ref
    w, policy = _secular(t, poles, start)
    return -np.log(w), policy, lambda: -behind - np.log(w[..., None] + poles)


def _secular(weights: Array, poles: Array, start: Array) -> tuple[Array, Array]:
    """The w with  sum weights / (w + poles) = 1,  from below, and the terms of that sum.

    The start is where the sum is at least 1, and the poles are not below 0.
    """
    w, distance, terms = start, np.empty_like(poles), np.empty_like(poles)
    for _ in range(_ROUNDS):
        np.add(w[..., None], poles, out=distance)
        np.divide(weights, distance, out=terms)
        mass = terms.sum(-1)
        largest = mass.max(initial=1) - 1
        if largest <= 1e-14:
            break
        terms /= distance
        w = w + (mass - 1) * mass / terms.sum(-1)
        if largest <= 1e-8:  # the error is squared in each round
            np.divide(weights, np.add(w[..., None], poles, out=distance), out=terms)
            break
    return w, terms


def _of_best(behind: Array, ref: Array) -> Array:
    """The reference's probability of the best response, of the likeliest one among several."""
    return np.where(behind == 0, ref, 0).max(-1)


def _by_bracket(behind: Array, ref: Array, f: Divergence) -> _Solution:
    """Any divergence with an inverse link, by a search for z in its bracket."""
    log_ref = np.log(ref)

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

    top = -np.log(_of_best(behind, ref))
    z = _root(log_mass, np.zeros_like(top), top)
    log_u = log_ratio(z)
    return z, np.exp(log_ref + log_u), lambda: log_u


_SOLVERS = {
    REVERSE_KL.inverse_link: _exponential,
    FORWARD_KL.inverse_link: _forward_kl,
    JENSEN_SHANNON.inverse_link: _jensen_shannon,
}


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
    """The rewards and ref after a check of their shapes and of ref."""
    r = reals("reward", reward, "(..., K)", "give one finite number for each response")
    q = laws("ref", ref, "(..., K)", "a response it never gives has no ratio", above_0=True)
    if q.shape[-1] != r.shape[-1]:
        raise InputError(
            f"reward must be finite and ref one probability for each, got shapes {r.shape} and {q.shape}"
        )
    moderate("reward", r, "take other units")
    return r, q
