"""Linear maximisation over a KL ball around the reference, and distortion, for which it is the benchmark."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from distalign.checks import InputError
from distalign.solvers.choice.certified import (
    CertifiedPolicy,
    checked_budget,
    checked_log_reference,
    in_ball,
    kl_divergence,
    normalised,
)
from distalign.types import Array


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
    r = np.asarray(reward, float)
    if r.ndim != 1 or not np.isfinite(r).all():
        raise InputError(f"reward must be one finite number for each alternative, got shape {r.shape}")
    q, budget = checked_log_reference(log_reference, len(r)), checked_budget(kl_budget)
    r, spread = r - r.max(), float(np.ptp(r))
    best = normalised(np.where(r >= -1e-12 * spread, q, -np.inf))
    if kl_divergence(best, q) <= budget:
        return CertifiedPolicy(best, 0.0, 1e-10 * spread)
    if budget == 0:
        return CertifiedPolicy(q, 0.0, 1e-10 * spread)
    s = _strength(r, q, budget, spread)
    log_policy = _tilt(r, q, s)
    return CertifiedPolicy(log_policy, abs(budget - kl_divergence(log_policy, q)) / s, 1e-10 * spread)


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
    u, p = np.asarray(avg_utility, float), np.asarray(policy, float)
    if not (u >= 0).all():
        raise InputError("avg_utility must be non-negative: utilities lie in [0, 1]")
    if p.shape != u.shape or not (p >= 0).all() or abs(p.sum() - 1) > 1e-8:
        raise InputError(
            f"policy must hold {len(u)} probabilities that sum to 1, got shape {p.shape} and sum {p.sum()}"
        )
    optimum = float(u @ kl_linear_maximisation(u, log_reference, kl_budget).policy)
    achieved, q = float(u @ p), np.asarray(log_reference, float)
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    if not in_ball(log_p, q, kl_budget) or achieved > optimum * (1 + 1e-7):
        raise InputError(
            f"policy spends {kl_divergence(log_p, q):.9g} nats of a kl_budget of {kl_budget:.9g} and "
            f"achieves {achieved:.9g} where the ball holds {optimum:.9g}: it is outside the ball, so it has "
            "no distortion"
        )
    if achieved == 0:
        return 1.0 if optimum == 0 else np.inf
    return max(optimum / achieved, 1.0)


def _tilt(r: Array, q: Array, s: float) -> Array:
    """The log-policy pi_s proportional to pi_ref e^{s r}."""
    return normalised(q + s * r)


def _strength(r: Array, q: Array, budget: float, spread: float) -> float:
    """The s at which pi_s spends the budget, from the feasible side.

    KL(pi_s) grows with s and is at most (s spread)^2 / 8 (Hoeffding), which gives the lower end of the
    bracket.
    """

    def excess(log_s: float) -> float:
        return kl_divergence(_tilt(r, q, np.exp(log_s)), q) - budget

    low = np.log(8 * budget) / 2 - np.log(spread)
    high = low + 1
    while excess(high) < 0:
        high += 2
    root: float = brentq(excess, low - 1e-9, high, xtol=1e-14)  # type: ignore[assignment]
    while excess(root) > 1e-11 * budget:
        root -= 1e-14 * max(1, abs(root))
    return float(np.exp(root))
