"""Linear maximisation over a KL ball around the reference, and distortion, for which it is the benchmark."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from distalign.checks import InputError, moderate, reals
from distalign.solvers.choice.certified import (
    CertifiedPolicy,
    checked_budget,
    checked_log_reference,
    divergence,
    in_ball,
    normalised,
)
from distalign.types import Array

_NOTHING = 1e-20  # nats that are worth less than the tolerance: |E r - E_ref r| <= spread sqrt(nats / 2)
_SMALL = 1e-10  # nats below which the difference of logarithms loses its digits
_DOUBLINGS, _BACK = 400, 1000


def kl_linear_maximisation(reward: ArrayLike, log_reference: ArrayLike, kl_budget: float) -> CertifiedPolicy:
    r"""argmax  E_{x~pi}[r(x)]  subject to  KL(pi || pi_ref) <= tau.

    The optimum is pi_ref restricted to argmax r if that costs at most tau, that is if -log pi_ref(argmax r)
    <= tau, and otherwise pi_s proportional to pi_ref e^{s r} with the s > 0 that spends tau exactly. The
    certificate is the duality gap (tau - KL)/s. Everything is computed with logarithms. With r the reward of
    a Bradley-Terry fit this is KL-constrained RLHF (and DPO); with r the average utility, the utilitarian
    optimum.

    Args:
        reward: (m,) finite rewards; within 1e-12 of their range they count as tied.
        log_reference: (m,) log pi_ref, full support.
        kl_budget: tau in nats, at least 0, possibly infinite.

    Returns:
        The policy; its certificate is in units of reward.

    Raises:
        InputError: rewards not finite, reference not normalised, negative budget.

    Source: exponential tilting is standard; for this use Gölz et al., arXiv 2505.23749, Section 2 and
        Proposition 14.

    Example:
        >>> best = kl_linear_maximisation([1.0, 0.0], np.log([0.5, 0.5]), 0.1)
        >>> best.policy.round(6).tolist(), round(best.kl(np.log([0.5, 0.5])), 12)
        ([0.719795, 0.280205], 0.1)
        >>> kl_linear_maximisation([1.0, 0.0], np.log([0.5, 0.5]), 1.0).policy.tolist()
        [1.0, 0.0]
    """
    r = reals("reward", reward, "(m,)", "give one finite number for each alternative")
    moderate("reward", r, "take other units")
    q, budget = checked_log_reference(log_reference, len(r)), checked_budget(kl_budget)
    r, spread = r - r.max(), float(np.ptp(r))
    best = normalised(np.where(r >= -1e-12 * spread, q, -np.inf))
    if divergence(best, q) <= budget:
        return CertifiedPolicy(best, 0.0, 1e-10 * spread)
    if budget < _NOTHING:
        return CertifiedPolicy(q, spread * float(np.sqrt(budget / 2)), 1e-10 * spread)
    s = None if budget < _SMALL else _strength(r, q, budget, spread)
    if s is None:
        s = _small_strength(r, q, budget, spread)
        log_policy, spent = _tilt(r, q, s), _small_divergence(r, q, s)
    else:
        log_policy = _tilt(r, q, s)
        spent = divergence(log_policy, q)
    return CertifiedPolicy(log_policy, abs(budget - spent) / s, 1e-10 * spread)


def distortion(
    avg_utility: ArrayLike, policy: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> float:
    r"""The distortion  max_{pi* : KL(pi* || pi_ref) <= tau} AvgUtil(pi*) / AvgUtil(pi)  of a policy.

    It is at least 1, which is best. The benchmark pi* is chosen from the same ball as the policy. The
    distortion is infinite if the policy achieves 0 and the optimum does not; 0/0 is 1.

    Args:
        avg_utility: (m,) non-negative average utilities.
        policy: (m,) probabilities.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats, possibly infinite.

    Raises:
        InputError: the policy is not a distribution or lies outside the ball (its solve failed), or utilities
            are negative.

    Source: Gölz et al., arXiv 2505.23749, Section 2; the convention for 0/0 is ours.

    Example:
        >>> distortion([1.0, 0.5], [0.0, 1.0], np.log([0.5, 0.5]), np.inf)
        2.0
    """
    u = reals("avg_utility", avg_utility, "(m,)", "utilities lie in [0, 1]")
    p = reals("policy", policy, "(m,)", "give one probability for each alternative")
    if not (u >= 0).all():
        raise InputError("avg_utility must be non-negative: utilities lie in [0, 1]")
    if p.shape != u.shape or not (p >= 0).all() or not abs(p.sum() - 1) <= 1e-8:
        raise InputError(
            f"policy must hold {len(u)} probabilities that sum to 1, got shape {p.shape} and sum {p.sum()}"
        )
    optimum = float(u @ kl_linear_maximisation(u, log_reference, kl_budget).policy)
    achieved, q = float(u @ p), np.asarray(log_reference, float)
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    if not in_ball(log_p, q, kl_budget) or achieved > optimum * (1 + 1e-7):
        raise InputError(
            f"policy spends {divergence(log_p, q):.9g} nats of a kl_budget of {kl_budget:.9g} and "
            f"achieves {achieved:.9g} where the ball holds {optimum:.9g}: it is outside the ball, so it has "
            "no distortion"
        )
    if achieved == 0:
        return 1.0 if optimum == 0 else np.inf
    return max(optimum / achieved, 1.0)


def _tilt(r: Array, q: Array, s: float) -> Array:
    """The log-policy pi_s proportional to pi_ref e^{s r}."""
    return normalised(q + s * r)


def _strength(r: Array, q: Array, budget: float, spread: float) -> float | None:
    """The s at which pi_s spends the budget, from the feasible side; None where rounding hides it.

    KL(pi_s) grows with s and is at most (s spread)^2 / 8 (Hoeffding), which gives the lower end of the
    bracket.
    """

    def excess(log_s: float) -> float:
        return divergence(_tilt(r, q, np.exp(log_s)), q) - budget

    low = np.log(8 * budget) / 2 - np.log(spread)
    high = low + 1
    for _ in range(_DOUBLINGS):
        if not excess(high) < 0:
            break
        high += 2
    if not excess(low - 1e-9) < 0 <= excess(high):
        return None
    root: float = brentq(excess, low - 1e-9, high, xtol=1e-14)  # type: ignore[assignment]
    for _ in range(_BACK):
        if not excess(root) > 1e-11 * budget:
            return float(np.exp(root))
        root -= 1e-14 * max(1, abs(root))
    return None


def _small_strength(r: Array, q: Array, budget: float, spread: float) -> float:
    """`_strength` by `_small_divergence`, which keeps its digits where the divergence is small."""

    def excess(log_s: float) -> float:
        return _small_divergence(r, q, np.exp(log_s)) / budget - 1

    low = np.log(8 * budget) / 2 - np.log(spread)
    high = low + 1
    for _ in range(_DOUBLINGS):
        if not excess(high) < 0:
            break
        high += 2
    root: float = brentq(excess, low - 1e-9, high, xtol=1e-14)  # type: ignore[assignment]
    return float(np.exp(root))


def _small_divergence(r: Array, q: Array, s: float) -> float:
    """KL(pi_s || pi_ref) to the last digits even where it is 1e-20.

    With x = s (r - E r), a = E x (e^x - 1) and z = E (e^x - 1 - x), which are both of second order, it is
    a / (1 + z) - log(1 + z).
    """
    p = np.exp(q)
    x = s * (r - p @ r)
    x -= p @ x
    near = np.abs(x) < 1e-2
    small = np.where(near, x, 0)
    series = small**2 * (1 / 2 + small * (1 / 6 + small * (1 / 24 + small * (1 / 120 + small / 720))))
    grown = np.expm1(x)
    z = float(p @ np.where(near, series, grown - x))
    return float(p @ (x * grown)) / (1 + z) - float(np.log1p(z))
