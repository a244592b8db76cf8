"""The Bradley-Terry reward of a population, and linear maximisation over a KL ball, as conic programs
(cvxpy).
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import MASSES, NONNEGATIVE, POSITIVE_LAW, REAL, WIN, checked
from distalign.types import Array


@checked(win=WIN, pair_weights=MASSES.solvable.of("m m"))
def reward_mle(win: ArrayLike, pair_weights: ArrayLike) -> Array:
    r"""argmin_r  sum_{x != y} W(x, y) P(x, y) log(1 + e^{r(y) - r(x)})  with sum r = 0.

    Args:
        win: (m, m) P(x preferred to y).
        pair_weights: (m, m) symmetric; the diagonal is ignored.

    Returns:
        (m,) rewards in logits, good to about 1e-5.

    Source: Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> reward = reward_mle([[0.5, 0.75], [0.25, 0.5]], [[0.0, 1.0], [1.0, 0.0]])
        >>> bool(abs(reward[0] - reward[1] - np.log(3)) < 1e-4)
        True
    """
    p, w = np.asarray(win, float), np.asarray(pair_weights, float)
    size = len(p)
    x, y = np.nonzero((w > 0) & ~np.eye(size, dtype=bool))
    r = cp.Variable(size)
    scaled = w[x, y] / w[x, y].max()
    loss = cp.sum(cp.multiply(scaled * p[x, y], cp.logistic(r[y] - r[x])))
    cp.Problem(cp.Minimize(loss), [cp.Zero(cp.sum(r))]).solve(solver=cp.CLARABEL)
    return np.asarray(r.value)


@checked(reward=REAL.solvable.of("m"), reference=POSITIVE_LAW.of("m"), kl_budget=NONNEGATIVE.solvable)
def kl_linear_maximisation(reward: ArrayLike, reference: ArrayLike, kl_budget: float) -> Array:
    r"""argmax  reward . p  over the simplex with  KL(p || reference) <= kl_budget  nats.

    Args:
        reward: (m,) rewards.
        reference: (m,) probabilities, none of them below about 1e-12.
        kl_budget: at least 0, finite.

    Returns:
        (m,) the policy, good to about 1e-5.

    Source: Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> kl_linear_maximisation([1.0, 0.0], [0.5, 0.5], 0.1).round(4).tolist()
        [0.7198, 0.2802]
    """
    r, q = np.asarray(reward, float), np.asarray(reference, float)
    p = cp.Variable(len(q))
    ball = [cp.NonNeg(p), cp.Zero(cp.sum(p) - 1), cp.NonNeg(kl_budget - cp.sum(cp.rel_entr(p, q)))]
    cp.Problem(cp.Maximize(r @ p), ball).solve(solver=cp.CLARABEL)
    return np.asarray(p.value)
