"""Equilibria of preference games as a linear program (HiGHS), as conic programs (cvxpy) and by mirror
descent.
"""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.arguments import FLAG, LOG_LAW, NONNEGATIVE, POSITIVE, POSITIVE_LAW, WIN, OneOf, checked
from distalign.types import Array


def _reachable(log_reference: ArrayLike, kl_budget: float) -> str:
    most = -float(np.min(log_reference))
    fits = kl_budget < most
    return (
        ""
        if fits
        else f"kl_budget must be below {most:.4g}, the most a policy can have here, got {kl_budget}"
    )


@checked(win=WIN, method=OneOf(("highs", "highs-ds", "highs-ipm")))
def maximal_lottery(win: ArrayLike, method: str = "highs") -> tuple[Array, float]:
    r"""A maximal lottery by one linear program over all alternatives:  max v  s.t.  M' pi >= v,  pi in the
    simplex.

    Args:
        win: (m, m) P(x preferred to y); M = 2P - 1.
        method: of scipy.optimize.linprog, such as "highs-ipm" for the interior-point method.

    Returns:
        (pi, v): a vertex of the set of maximal lotteries, and the value of the game, 0 up to the solver's
        rounding.

    Source: Gölz et al., arXiv 2505.23749, Section 2; the linear program of a zero-sum game.

    Example:
        >>> lottery, value = maximal_lottery([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
        >>> lottery.round(9).tolist(), abs(round(value, 9))
        ([0.333333333, 0.333333333, 0.333333333], 0.0)
    """
    p = np.asarray(win, float)
    size = len(p)
    margins = p - p.T
    solved = linprog(
        np.append(np.zeros(size), -1),
        A_ub=np.hstack([-margins.T, np.ones((size, 1))]),
        b_ub=np.zeros(size),
        A_eq=np.append(np.ones(size), 0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * size + [(-1, 1)],
        method=method,
    )
    return solved.x[:-1], float(solved.x[-1])


@checked(win=WIN, reference=POSITIVE_LAW.of("m"), kl_budget=NONNEGATIVE.solvable)
def kl_nlhf(win: ArrayLike, reference: ArrayLike, kl_budget: float) -> Array:
    r"""KL-constrained Nash learning from human feedback as one conic program.

    The worst opponent in the ball costs  max -c.q over q with KL(q || pi_ref) <= tau,  c = M' p,  which by
    duality is min_lambda  lambda tau + lambda log sum pi_ref e^{-c/lambda};  so  min lambda tau + t  over p
    in the ball, lambda >= 0 and t with  sum_x pi_ref(x) z_x <= lambda,  lambda e^{(-c_x - t)/lambda} <= z_x
    (exponential cones).

    Args:
        win: (m, m) P(x preferred to y).
        reference: (m,) probabilities, none of them below about 1e-12.
        kl_budget: tau in nats, finite.

    Returns:
        (m,) the policy, good to about 1e-5.

    Source: ours; the problem is that of Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> kl_nlhf([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5], 0.1).round(4).tolist()
        [0.7198, 0.2802]
    """
    win, q = np.asarray(win, float), np.asarray(reference, float)
    size = len(q)
    p, z = cp.Variable(size), cp.Variable(size)
    lam, t = cp.Variable(nonneg=True), cp.Variable()
    payoff = (win - win.T).T @ p
    constraints = [
        p >= 0,
        cp.sum(p) == 1,
        cp.sum(cp.rel_entr(p, q)) <= kl_budget,
        q @ z <= lam,
        cp.ExpCone(-payoff - t, lam * np.ones(size), z),
    ]
    cp.Problem(cp.Minimize(lam * kl_budget + t), constraints).solve(solver=cp.CLARABEL)
    return np.asarray(p.value)


@checked(win=WIN, reference=POSITIVE_LAW.of("m"), strength=POSITIVE.solvable)
def regularised_nlhf(win: ArrayLike, reference: ArrayLike, strength: float) -> Array:
    r"""Regularised NLHF as one conic program:  min_p  log sum pi_ref e^{M p / lambda} + KL(p || pi_ref).

    The first term is the value of the best reply, a log-sum-exp.

    Args:
        win: (m, m) P(x preferred to y); M = 2P - 1.
        reference: (m,) probabilities, none of them below about 1e-12.
        strength: lambda, above 0.

    Returns:
        (m,) the policy, good to about 1e-5.

    Source: ours; the problem is that of Gölz et al., arXiv 2505.23749, Proposition 13.

    Example:
        >>> p = regularised_nlhf([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5], 1.0)
        >>> bool(abs(np.log(p[0] / p[1]) - 0.5) < 1e-4)
        True
    """
    win, q = np.asarray(win, float), np.asarray(reference, float)
    p = cp.Variable(len(q))
    reply = cp.log_sum_exp((win - win.T) @ p / strength + np.log(q))
    cp.Problem(cp.Minimize(reply + cp.sum(cp.rel_entr(p, q))), [cp.NonNeg(p), cp.Zero(cp.sum(p) - 1)]).solve(
        solver=cp.CLARABEL
    )
    return np.asarray(p.value)


@checked(
    _reachable,
    win=WIN,
    log_reference=LOG_LAW.of("m"),
    kl_budget=replace(POSITIVE, low=1e-12),
    tolerance=POSITIVE,
    adaptive=FLAG,
)
def kl_nlhf_by_mirror_descent(
    win: ArrayLike,
    log_reference: ArrayLike,
    kl_budget: float,
    tolerance: float = 1e-9,
    adaptive: bool = False,
) -> Array:
    r"""KL-constrained NLHF by bisection on log lambda, and mirror descent for each lambda.

    Mirror descent starts at the policy of the last lambda and repeats log p  <-  (1 - h) log p + h (log
    pi_ref + M p / lambda).  Magnetic mirror descent is proved to converge in these games, with the policy
    playing against itself, for steps  eta = h / lambda  up to about lambda / max M^2:  the constant step
    here.

    Args:
        win: (m, m) P(x preferred to y); M = 2P - 1.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats, below the KL of a maximal lottery.
        tolerance: on  lambda |KL - tau|,  what an opponent in the ball can gain.
        adaptive: instead raise h by a tenth, up to 1, where the residual falls and halve it where it grows.

    Returns:
        (m,) log-probabilities.

    Source: the step from Sokota et al., arXiv 2206.05825 (from memory); bisection and the adaptive step are
        ours.

    Example:
        >>> p = np.exp(kl_nlhf_by_mirror_descent([[0.5, 0.75], [0.25, 0.5]], np.log([0.5, 0.5]), 0.1))
        >>> p.round(6).tolist()
        [0.719795, 0.280205]
    """
    margins, q = np.asarray(win, float) - np.asarray(win, float).T, np.asarray(log_reference, float)
    low, high, log_p = np.log(1e-6), np.log(1e3), q
    for _ in range(100):
        middle = (low + high) / 2
        strength = float(np.exp(middle))
        step = 0.5 if adaptive else min(1.0, strength / np.abs(margins).max()) ** 2 / 2
        log_p = _mirror_descent(margins, q, strength, log_p, step, adaptive)
        missing = kl_budget - float(np.exp(log_p) @ (log_p - q))
        low, high = (middle, high) if missing < 0 else (low, middle)
        if 0 <= missing * strength <= tolerance:
            break
    return log_p


def _mirror_descent(
    margins: Array, q: Array, strength: float, log_p: Array, h: float, adaptive: bool
) -> Array:
    """The log-policy at one lambda, from log_p on, with the step h."""
    best = np.inf
    for _ in range(20_000):
        goal = q + margins @ np.exp(log_p) / strength
        goal -= np.log(np.exp(goal - goal.max()).sum()) + goal.max()
        residual = float(np.ptp(goal - log_p))
        if residual <= 1e-10:
            break
        if adaptive:
            h, best = (min(1.1 * h, 1.0), residual) if residual < best else (max(h / 2, 1e-3), residual)
        log_p = (1 - h) * log_p + h * goal
        log_p = log_p - np.log(np.exp(log_p - log_p.max()).sum()) - log_p.max()
    return log_p
