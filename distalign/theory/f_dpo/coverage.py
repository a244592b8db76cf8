r"""How much n comparisons cost a regularised policy, by divergence, and whether coverage matters.

A policy that maximises  G(p) = E_p r - beta D_f(p || ref)  for rewards estimated from n comparisons of pairs
from the reference loses, to first order in 1/n,

    n E [G(pi) - G(pi_n)]  ->  tr(W Sigma) / (2 beta),
    W = diag(w) - w w^T / sum(w),   w = ref / f''(pi/ref),                                            (1)

with Sigma the limit covariance of the rewards: G is a maximum, so the loss is half its curvature, beta
diag(f''/ref), at the error of the policy, W dr / beta.

If f'' >= m everywhere, w <= ref / m, so W is at most that of the reference itself over m. Comparisons of
pairs from the reference have an information of at least 2 sigma'(R) (diag(ref) - ref ref^T), R the range of
the rewards. With K responses (1) is therefore at most

    (K - 1) / (4 beta m sigma'(R)),                                                                   (2)

whatever the reference is: no coverage enters. Reverse KL has w = pi instead. The difference of two rewards is
known no better than if all others were, so with any response y

    tr(W Sigma) / (2 beta) >= pi_y (1 - pi_y) / (beta ref_y (1 - ref_y)):                              (3)

the coverage pi_y / ref_y enters as a factor.

Source: that f-divergences with strongly convex f need no coverage, while reverse KL needs it as a factor, is
described in the abstract of Zhao, Ji, Zhao, Zhang and Gu, arXiv 2502.06051, whose theorems were not read;
that chi-squared regularisation helps against rarely covered responses in that of Huang et al., arXiv
2407.13399. The limit (1) and the bounds (2) and (3) are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from distalign.arguments import COVARIANCE, LAW, POSITIVE, POSITIVE_LAW, REAL, checked


@checked(policy=LAW.of("K"), weight=POSITIVE.of("K"), beta=POSITIVE, covariance=COVARIANCE.of("K K"))
def regret_constant(policy: ArrayLike, weight: ArrayLike, beta: float, covariance: ArrayLike) -> float:
    """(1), the limit of n times the expected loss of regularised reward.

    Args:
        policy: (K,) the optimum pi.
        weight: (K,) u f''(u) at u = pi/ref; w of (1) is their ratio.
        beta: strength of the divergence.
        covariance: (K, K), see `distalign.theory.f_dpo.asymptotics.reward_covariance`.

    Example: reverse KL, two responses.
        >>> regret_constant([0.5, 0.5], [1.0, 1.0], 1.0, [[1.0, -1.0], [-1.0, 1.0]])
        0.5
    """
    w = np.asarray(policy, float) / np.asarray(weight, float)
    sigma = np.asarray(covariance, float)
    return float((w @ np.diag(sigma) - w @ sigma @ w / w.sum()) / (2 * beta))


@checked(reward=REAL.of("K"), beta=POSITIVE, convexity=POSITIVE)
def regret_limit(reward: ArrayLike, beta: float, convexity: float) -> float:
    """(2), an upper bound on (1) for every reference, where f is strongly convex.

    Args:
        reward: (K,) rewards, in logits.
        beta: strength of the divergence.
        convexity: m, the infimum of f''.

    Example: two responses of equal reward.
        >>> regret_limit([0.0, 0.0], 1.0, 1.0)
        1.0
    """
    r = np.asarray(reward, float)
    spread = float(np.ptp(r))
    return float((len(r) - 1) / (4 * beta * convexity * expit(spread) * expit(-spread)))


@checked(policy=LAW.of("K"), reference=POSITIVE_LAW.of("K"), beta=POSITIVE)
def regret_floor(policy: ArrayLike, reference: ArrayLike, beta: float) -> float:
    """(3) at the response where it is largest, a lower bound on (1) for reverse KL.

    Args:
        policy: (K,) the optimum pi.
        reference: (K,) ref, from which both responses of a pair are drawn.
        beta: strength of the divergence.

    Example:
        >>> round(regret_floor([0.5, 0.5], [0.01, 0.99], 1.0), 2)
        25.25
    """
    p, q = np.asarray(policy, float), np.asarray(reference, float)
    return float((p * (1 - p) / (q * (1 - q))).max() / beta)
