"""How far an empirical win matrix is from the population's when every user answers several questions.

n users answer d questions each; a question shows the pair {x, y} with probability q = 2 mu_x mu_y. With p =
P(x, y) and rho the covariance of two answers of one user to that pair, the share p_n of the answers won by x
has

    n Var(p_n) -> p (1 - p)/(d q) + (1 - 1/d) rho.                                      (1)

More answers of the same users remove the first term only. Bounds of arXiv 2505.23749 (Lemmas 10 and 11,
Theorems 2 and 7) carry a factor 1/(n min(1, d mu_min^2)), which is this law up to a constant: with q >= 2
mu_min^2 and rho <= p (1 - p) <= 1/4 the right-hand side is at most (3/8)/min(1, d mu_min^2). The law itself
is ours (a ratio estimate's variance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import FLAG, INSIDE_UNIT, LAW, NONNEGATIVE, POSITIVE, SHARE, UNIT, checked, quantity
from distalign.checks import InputError
from distalign.types import Array


@checked(wins_by_type=UNIT.of("T"), weights=LAW.of("T"), one_ranking=FLAG)
def answer_covariance(wins_by_type: ArrayLike, weights: ArrayLike, *, one_ranking: bool) -> float:
    """The covariance rho of two answers of one user to the same pair.

    It is sum_k w_k (p_k - p)^2 when answers are independent given the user's type. It is p (1 - p) when one
    ranking answers both questions, for the two answers are then equal.

    Args:
        wins_by_type: (T,) probability p_k that a user of type k prefers x to y.
        weights: (T,) share of each type.
        one_ranking: whether a user answers everything from one ranking (Plackett-Luce) or afresh.

    Source: ours, elementary.

    Example:
        >>> [round(answer_covariance([0.9, 0.1], [0.5, 0.5], one_ranking=one), 12) for one in (False, True)]
        [0.16, 0.25]
    """
    p, w = np.asarray(wins_by_type, float), np.asarray(weights, float)
    mean = float(w @ p)
    return mean * (1 - mean) if one_ranking else float(w @ (p - mean) ** 2)


@checked(
    users=quantity().each,
    comparisons=quantity().each,
    share=SHARE,
    win=UNIT.elementwise,
    covariance=NONNEGATIVE.elementwise,
)
def win_error(users: ArrayLike, comparisons: ArrayLike, share: float, win: float, covariance: float) -> Array:
    """Root mean square of p_n - p for a pair shown with probability q = `share`, from Eq. (1).

        sqrt((p (1 - p)/(d q) + (1 - 1/d) rho)/n)

    Args:
        users: n, at least 1.
        comparisons: d, at least 1.
        share: q, in (0, 1].
        win: p, in [0, 1].
        covariance: rho, from `answer_covariance`.

    Raises:
        InputError: a size below 1 or a share outside (0, 1].

    Source: ours; for large n d q.

    Example:
        >>> win_error(100, [1, 1_000_000], 0.5, 0.5, 0.25).round(4).tolist()
        [0.0707, 0.05]
    """
    n, d = np.asarray(users, float), np.asarray(comparisons, float)
    if not ((n >= 1).all() and (d >= 1).all() and 0 < share <= 1):
        raise InputError("users and comparisons must be at least 1, and share in (0, 1]")
    return np.sqrt((win * (1 - win) / (d * share) + (1 - 1 / d) * covariance) / n)


@checked(share=INSIDE_UNIT, win=INSIDE_UNIT, covariance=POSITIVE)
def saturation(share: float, win: float, covariance: float) -> float:
    """The d at which more questions to the same users stop helping: both parts of Eq. (1) are equal.

        A/B = p (1 - p)/(q rho) - 1,   with Eq. (1) written as A/d + B

    With one ranking a user it is 1/q - 1 = 1/(2 mu_x mu_y) - 1 for every p. That is of order 1/mu_min^2, the
    d at which the paper's min(1, d mu_min^2) stops growing.

    Source: ours.

    Example:
        >>> saturation(0.125, 0.3, 0.21)
        7.0
    """
    return float(win * (1 - win) / (share * covariance) - 1)
