"""Equilibria of preference games as a linear program (HiGHS) and as a conic program (cvxpy)."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

Array = NDArray[np.float64]


def maximal_lottery(win: ArrayLike) -> tuple[Array, float]:
    r"""A maximal lottery by one linear program over all alternatives:  max v  s.t.  M' pi >= v,  pi in the simplex.

    Args:
        win: (m, m) P(x preferred to y); M = 2P - 1.

    Returns:
        (pi, v): a vertex of the set of maximal lotteries, and the value of the game, 0 up to the solver's rounding.

    Source: Gölz et al., arXiv 2505.23749, Section 2; the linear program of a zero-sum game.

    Example:
        >>> lottery, value = maximal_lottery([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
        >>> lottery.round(9).tolist(), abs(round(value, 9))
        ([0.333333333, 0.333333333, 0.333333333], 0.0)
    """
    p = np.asarray(win, float)
    size = len(p)
    margins = p - p.T
    solved = linprog(np.append(np.zeros(size), -1), A_ub=np.hstack([-margins.T, np.ones((size, 1))]), b_ub=np.zeros(size),
                     A_eq=np.append(np.ones(size), 0)[None], b_eq=[1.0], bounds=[(0, 1)] * size + [(-1, 1)],
                     method="highs")
    return solved.x[:-1], float(solved.x[-1])


def kl_nlhf(win: ArrayLike, reference: ArrayLike, kl_budget: float) -> Array:
    r"""KL-constrained Nash learning from human feedback as one conic program.

    The worst opponent in the ball costs  max -c.q over q with KL(q || pi_ref) <= tau,  c = M' p,  which by duality is
    min_lambda  lambda tau + lambda log sum pi_ref e^{-c/lambda};  so  min lambda tau + t  over p in the ball, lambda >= 0 and
    t with  sum_x pi_ref(x) z_x <= lambda,  lambda e^{(-c_x - t)/lambda} <= z_x  (exponential cones).

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
    constraints = [p >= 0, cp.sum(p) == 1, cp.sum(cp.rel_entr(p, q)) <= kl_budget, q @ z <= lam,
                   cp.ExpCone(-payoff - t, lam * np.ones(size), z)]
    cp.Problem(cp.Minimize(lam * kl_budget + t), constraints).solve(solver=cp.CLARABEL)
    return np.asarray(p.value)
