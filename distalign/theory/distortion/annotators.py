r"""What a Bradley-Terry fit finds where annotators differ, and what a second answer of each repairs.

An annotator answers x over y with probability sigma(d), d his difference of rewards. Over annotators d has
mean D, variance V and third central moment M. A Taylor expansion of E sigma(d) around D gives

    logit E sigma(d) = D - tanh(D/2) V/2 + O(3),                                                           (1)

so the fit of anonymous answers is drawn to 0, by an amount of second order in how much annotators differ.
Asked twice, an annotator says x both times with probability E sigma(d)^2, and the covariance of his answers
is  q = Var sigma(d) = sigma'(D)^2 V + sigma'(D) sigma''(D) M + O(4).  So with p = E sigma(d)

    p - (1 - 2p) q / (2 p (1 - p)) = sigma(D) - sigma'(D) (1 - 3 sigma'(D)) M/3 + O(4):                    (2)

what is left in the logit is of third order, and of fourth where annotators differ symmetrically.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from distalign.arguments import NONNEGATIVE, REAL, checked
from distalign.types import Array


@checked(difference=REAL.each, variance=NONNEGATIVE.each)
def anonymous_bias(difference: ArrayLike, variance: ArrayLike) -> Array:
    """By how much the logit of anonymous answers misses the mean difference:  - tanh(D/2) V/2.

    Args:
        difference: D, mean difference of rewards, in logits.
        variance: V, over annotators.

    Source: ours, by Taylor expansion, equation (1).

    Example:
        >>> anonymous_bias([1.0, -1.0], 0.1).round(6).tolist()
        [-0.023106, 0.023106]
    """
    return -np.tanh(np.asarray(difference, float) / 2) * np.asarray(variance, float) / 2


@checked(difference=REAL.each, third_moment=REAL.each)
def corrected_bias(difference: ArrayLike, third_moment: ArrayLike) -> Array:
    """What is left of it after the correction by second answers:  - (1 - 3 sigma'(D)) M/3.

    Args:
        difference: D, mean difference of rewards, in logits.
        third_moment: M, third central moment of the difference over annotators.

    Source: ours, by Taylor expansion, equation (2).

    Example:
        >>> corrected_bias([0.0, 9.0], 0.3).round(3).tolist()
        [-0.025, -0.1]
    """
    slope = expit(difference) * expit(-np.asarray(difference, float))
    return -(1 - 3 * slope) * np.asarray(third_moment, float) / 3


def _compared(weights: ArrayLike) -> str:
    """A relation: some pair is compared."""
    return "" if np.sum(weights) > 0 else "weights are all 0: give some pair a weight"


@checked(_compared, pair_bias=REAL.of("m m"), rewards=REAL.of("m"), weights=NONNEGATIVE.of("m m"))
def fitted_bias(pair_bias: ArrayLike, rewards: ArrayLike, weights: ArrayLike) -> Array:
    """First-order change of Bradley-Terry rewards where the logits of pairs are changed by these amounts.

    The fit solves  sum_y W (sigma(r_x - r_y) - p_xy) = 0;  so its change is the least-squares fit of
    differences to the changes, with weights W sigma'(R_x - R_y).

    Args:
        pair_bias: (m, m) changes, antisymmetric.
        rewards: (m,) R, of the fit without them.
        weights: (m, m) W, symmetric weights of pairs.

    Returns:
        (m,) changes of the rewards, of sum 0.

    Source: the implicit function theorem.

    Example:
        >>> fitted_bias([[0.0, 0.2], [-0.2, 0.0]], [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]).round(6).tolist()
        [0.1, -0.1]
    """
    reward = np.asarray(rewards, float)
    gap = reward[:, None] - reward
    w = np.asarray(weights, float) * expit(gap) * expit(-gap)
    np.fill_diagonal(w, 0.0)
    laplacian = np.diag(w.sum(1)) - w
    change = np.linalg.lstsq(laplacian, (w * np.asarray(pair_bias, float)).sum(1), rcond=None)[0]
    return change - change.mean()
