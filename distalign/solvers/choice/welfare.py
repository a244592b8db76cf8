r"""Groups with rewards of their own: the policy that is best for the worst-off group, the Nash bargaining
policy, and the mixture of what each group would choose.

A group's gain from a policy is  E_pi r_g - E_ref r_g,  which does not depend on the unknown zero of its
reward. With weights lambda on groups the best policy in the ball is known in closed form
(`distalign.solvers.choice.kl_linear`). Both welfares are concave in the gains, so each is solved over
mixtures of such policies, which stay in the ball because KL is convex: the best mixture of those at hand
gives new weights, and their best policy joins, until it could add nothing (fully corrective Frank-Wolfe).
What it could still add is the certificate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog, minimize

from distalign.arguments import LAW, REAL, checked
from distalign.checks import InputError, reals
from distalign.solvers.choice.certified import CertifiedPolicy, checked_budget, checked_log_reference
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.types import Array


def maxmin(rewards: ArrayLike, log_reference: ArrayLike, kl_budget: float) -> CertifiedPolicy:
    r"""argmax over the KL ball of the smallest gain of a group.

    The certificate is  max over pi' in the ball of sum_g lambda_g gain_g(pi')  less the smallest gain, with
    the lambda of the best mixture: it bounds what the worst-off group could still gain.

    Args:
        rewards: (G, m) reward of each group.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats, above 0 and finite.

    Returns:
        The policy; its certificate is in units of reward, and the tolerance is 1e-6 of the largest range.

    Raises:
        InputError: rewards that are not finite, or a budget of 0 or infinity.

    Source: Chakraborty et al., MaxMin-RLHF, arXiv 2402.08925, with gains in place of rewards; the solver is
        ours.

    Example:
        >>> both = maxmin([[1.0, 0.0, 0.7], [0.0, 1.0, 0.7]], np.log(np.full(3, 1 / 3)), 0.2)
        >>> both.policy.round(3).tolist(), both.certified
        ([0.178, 0.178, 0.643], True)
    """
    r, best = _prepared(rewards, log_reference, kl_budget)
    return _mixture(r, best, _worst_off, 1e-6 * float(np.ptp(r, axis=1).max()))


def nash_welfare(
    rewards: ArrayLike, shares: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> CertifiedPolicy:
    r"""argmax over the KL ball of  sum_g share_g log gain_g,  Nash's bargain with the reference as fallback.

    The welfare is concave in the policy, so  max over pi' in the ball of  sum_g share_g / gain_g (gain_g(pi')
    - gain_g(pi))  bounds what is missing: this is the certificate. It is infinite where no policy in the ball
    is better for all groups than the reference.

    Args:
        rewards: (G, m) reward of each group.
        shares: (G,) weight of each group, above 0, of sum 1.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats, above 0 and finite.

    Raises:
        InputError: rewards that are not finite, shares that are no distribution, or a budget of 0 or
            infinity.

    Source: J. F. Nash, The bargaining problem, Econometrica 18 (1950); the reading with learned rewards and
        the solver are ours.

    Example:
        >>> q = np.log(np.full(3, 1 / 3))
        >>> bargain = nash_welfare([[1.0, 0.0, 0.7], [0.0, 1.0, 0.7]], [0.5, 0.5], q, 0.2)
        >>> bargain.policy.round(3).tolist(), bargain.certified
        ([0.178, 0.178, 0.643], True)
    """
    r, best = _prepared(rewards, log_reference, kl_budget)
    w = reals("shares", shares, "(G,)", "give the share of each group")
    if w.shape != (len(r),) or not (w > 0).all() or abs(w.sum() - 1) > 1e-8:
        raise InputError(f"shares must be {len(r)} numbers above 0 of sum 1")

    def welfare(gains: Array) -> tuple[Array, Array, float]:
        """The best mixture of policies with these (G, k) gains."""
        start, _, least = _worst_off(gains)
        if not least > 1e-9 * float(np.abs(gains).max()):
            return start, np.zeros(len(gains)), np.nan

        floor = 0.5 * w * least  # at the bargain gain_g is at least share_g times the largest smallest gain

        def loss(mix: Array) -> tuple[float, Array]:
            """Minus the welfare; below the floor the logarithm goes on as its parabola there."""
            found = gains @ mix
            inside, below = np.maximum(found, floor), np.minimum(found - floor, 0) / floor
            slope = w / inside * (1 - below)
            return -float(w @ (np.log(inside) + below - below**2 / 2)), -slope @ gains

        mix = _on_simplex(loss, start)
        return mix, w / (gains @ mix), 1.0

    scale = np.maximum(np.ptp(r, axis=1), 1e-300)

    def dual(theta: Array) -> tuple[float, Array]:
        """max over pi of sum_g lambda_g gain_g(pi) - sum_g share_g log lambda_g: least at the bargain."""
        weights = np.exp(theta) / scale
        gains = r @ best(weights).policy
        return float(weights @ gains - w @ theta), weights * gains - w

    near = minimize(dual, np.zeros(len(r)), jac=True, method="L-BFGS-B", bounds=[(-30.0, 30.0)] * len(r))
    return _mixture(r, best, welfare, 1e-6, near=np.exp(near.x) / scale)


@checked(rewards=REAL.of("G m"), shares=LAW.of("G"))
def group_mixture(
    rewards: ArrayLike, shares: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> CertifiedPolicy:
    """The mixture of each group's own optimum in the KL ball, in proportion to the groups.

    KL is convex, so the mixture is in the ball as well. A user who asks once gets, with the probability of
    each group, what that group would have chosen. The certificate is the average of the groups' own ones.

    Args:
        rewards: (G, m) reward of each group.
        shares: (G,) weight of each group.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats.

    Raises:
        InputError: rewards that are not finite, shares that are no law, or a negative budget.

    Source: with known groups, the ensemble of EM-DPO (Chidambaram, Seetharaman and Syrgkanis, arXiv
        2405.15065), mixed by the size of the groups; the mixing is ours.

    Example:
        >>> group_mixture([[1.0, 0.0], [0.0, 1.0]], [0.75, 0.25], np.log([0.5, 0.5]), 9.0).policy.tolist()
        [0.75, 0.25]
    """
    r = reals("rewards", rewards, "(G, m)", "give one finite number for each group and alternative")
    w = reals("shares", shares, "(G,)", "give the share of each group")
    own = [kl_linear_maximisation(row, log_reference, kl_budget) for row in r]
    with np.errstate(divide="ignore"):
        log_policy = np.log(w @ np.array([found.policy for found in own]))
    gap = float(w @ [found.certificate for found in own])
    return CertifiedPolicy(log_policy, gap, float(w @ [found.tolerance for found in own]))


_ROUNDS = 60
Inner = Callable[[Array], tuple[Array, Array, float]]
"""From the (G, k) gains of k policies: the best mixture, the weights lambda on groups that it implies, and
lambda'gain."""


def _mixture(
    r: Array,
    best: Callable[[Array], CertifiedPolicy],
    inner: Inner,
    tolerance: float,
    near: Array | None = None,
) -> CertifiedPolicy:
    """Mixtures of best policies, to which the best policy for the weights of the last mixture is added.

    `near` are weights to begin with, beside equal ones and single groups.
    """
    groups = len(r)
    begin = [np.full(groups, 1 / groups), *np.eye(groups), *([] if near is None else [near])]
    policies = [best(weights).policy for weights in begin]
    found, gap = policies[0], np.inf
    for _ in range(_ROUNDS):
        mix, weights, value = inner(r @ np.array(policies).T)
        mixed = mix @ np.array(policies)
        if np.isnan(value):
            break
        answer = best(weights)
        missing = float(weights @ (r @ answer.policy)) + answer.certificate - value
        if missing < gap:
            found, gap = mixed, missing
        if gap <= 0.1 * tolerance:
            break
        policies = [p for p, share in zip(policies, mix, strict=True) if share > 1e-10] + [answer.policy]
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log(found / found.sum()), max(gap, 0.0), tolerance)


def _worst_off(gains: Array) -> tuple[Array, Array, float]:
    """The mixture of policies whose smallest gain is largest, by a linear program, and its prices."""
    groups, size = gains.shape
    answer = linprog(
        np.append(np.zeros(size), -1.0),
        A_ub=np.column_stack([-gains, np.ones(groups)]),
        b_ub=np.zeros(groups),
        A_eq=np.append(np.ones(size), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * size + [(None, None)],
    )
    mix = np.clip(answer.x[:-1], 0, None)
    weights = np.clip(-answer.ineqlin.marginals, 0, None)
    mix, weights = mix / mix.sum(), weights / weights.sum()
    return mix, weights, float((gains @ mix).min())


def _on_simplex(loss: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(start),
        constraints={"type": "eq", "fun": lambda mix: mix.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    mix = np.clip(found.x, 0, None)
    return mix / mix.sum()


def _prepared(
    rewards: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> tuple[Array, Callable[[Array], CertifiedPolicy]]:
    """Rewards above those of the reference, and the best policy in the ball for weights on groups."""
    r = reals("rewards", rewards, "(G, m)", "give one finite number for each group and alternative")
    q, budget = checked_log_reference(log_reference, r.shape[1]), checked_budget(kl_budget)
    if not 0 < budget < np.inf:
        raise InputError(
            f"kl_budget must be above 0 and finite, got {budget:g}: the optimum is a tilt of the reference "
            "then, and need not be one without a ball"
        )
    r = r - (r @ np.exp(q))[:, None]
    return r, lambda weights: kl_linear_maximisation(weights @ r, q, budget)
