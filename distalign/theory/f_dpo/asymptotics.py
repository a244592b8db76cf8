"""f-DPO near its two limits: a strong pull to the reference, and many comparisons.

Strong pull. With strength b = beta f''(1), x = r - E_ref r and skew k = f'''(1) / f''(1) the optimum and its
divergence are

    pi/ref = 1 + x/b - (k/2) (x^2 - E_ref x^2) / b^2 + O(b^-3)                          (1)
    D_f = Var_ref r / (2 beta^2 f''(1)) + O(b^-3)                                       (2)

so at equal b all divergences agree to first order, and those of equal skew to second. k is -3/2 for every
symmetric divergence, f(u) = u f(1/u).

Many comparisons. f-DPO's fit is the f-regularised optimum of the Bradley-Terry fit h, so the error of that
fit passes through

    d pi_y = a_y (d h_y - d nu),   a = pi / (beta u f''(u)),   sum_y d pi_y = 0.        (3)

Source: ours (the delta method).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import COVARIANCE, LAW, MASSES, POSITIVE, POSITIVE_LAW, REAL, Thing, checked
from distalign.types import Array

PARAMETRIC_EXPONENT, DIVERGENCE_EXPONENT = -0.5, -1.0
STRONG_PULL_EXPONENT, EQUAL_SKEW_EXPONENT = -2.0, -3.0
_SKEWS = {
    "reverse_kl": -1.0,
    "forward_kl": -2.0,
    "jensen_shannon": -1.5,
    "squared_hellinger": -1.5,
    "jeffreys": -1.5,
    "chi2_plus_kl": -0.5,
}


def _has_skew(word: object) -> bool:
    if not isinstance(word, str):
        return False
    name, _, a = word.partition(":")
    return word in _SKEWS or (name == "alpha" and re.fullmatch(r"-?\d+(\.\d*)?(e-?\d{1,2})?", a) is not None)


_DIVERGENCE = Thing(f"'alpha:' and a number, or one of {', '.join(_SKEWS)}", _has_skew)


@checked(divergence=_DIVERGENCE)
def skew(divergence: str) -> float:
    """f'''(1) / f''(1), the first coefficient in which divergences of equal strength differ.

    Example:
        >>> skew("alpha:0.5") == skew("jensen_shannon"), skew("alpha:0.25")
        (True, -1.25)
    """
    name, _, a = divergence.partition(":")
    return -1.0 - float(a) if name == "alpha" else _SKEWS[name]


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"), skew_difference=REAL.elementwise)
def second_order_gap(reward: ArrayLike, ref: ArrayLike, skew_difference: float) -> Array:
    """Limit (...) of b^2 TV(pi_f, pi_g) at equal strength b, by Eq. (1).

        |k_f - k_g| E_ref|x^2 - E_ref x^2| / 4

    Args:
        reward: (..., K) rewards.
        ref: (..., K) reference probabilities.
        skew_difference: k_f - k_g.

    Example:
        >>> difference = skew("reverse_kl") - skew("forward_kl")
        >>> float(second_order_gap([0.0, 0.0, 3.0], [1 / 3, 1 / 3, 1 / 3], difference).round(9))
        0.333333333
    """
    r, q = np.broadcast_arrays(np.asarray(reward, float), np.asarray(ref, float))
    x = r - (q * r).sum(-1, keepdims=True)
    return abs(skew_difference) / 4 * (q * np.abs(x**2 - (q * x**2).sum(-1, keepdims=True))).sum(-1)


@checked(
    reward=REAL.of("... K"), ref=LAW.of("... K"), beta=POSITIVE.elementwise, curvature=POSITIVE.elementwise
)
def small_divergence(reward: ArrayLike, ref: ArrayLike, beta: float, curvature: float) -> Array:
    """Divergence (...) D_f(pi || ref) for a strong pull, Eq. (2):  Var_ref r / (2 beta^2 f''(1)).

    Example:
        >>> float(small_divergence([1.0, -1.0], [0.5, 0.5], 10.0, 0.5))
        0.01
    """
    r, q = np.broadcast_arrays(np.asarray(reward, float), np.asarray(ref, float))
    x = r - (q * r).sum(-1, keepdims=True)
    return (q * x**2).sum(-1) / (2 * beta**2 * curvature)


@checked(pairs=MASSES.of("K K"))
def reward_covariance(pairs: ArrayLike) -> Array:
    """Limit covariance (K, K) of sqrt(n) (h_n - h) for the Bradley-Terry fit, both of mean 0.

    It is the inverse Fisher information on contrasts. The information is the Laplacian of the graph with
    weights q_ij P_ij P_ji, with q_ij the frequency of the pair and P_ij the probability that i wins it.

    Args:
        pairs: (K, K) exact law of (winner, loser); mass on the diagonal tells nothing.

    Example:
        >>> reward_covariance([[0.0, 0.5], [0.5, 0.0]]).round(9).tolist()  # the difference has variance 4
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    p = np.asarray(pairs, float)
    both = p + p.T
    edges = np.divide(p * p.T, both, out=np.zeros_like(p), where=both > 0) * (1 - np.eye(len(p)))
    return np.asarray(np.linalg.pinv(np.diag(edges.sum(1)) - edges, hermitian=True), float)


@checked(policy=LAW.of("K"), weight=POSITIVE.of("K"), beta=POSITIVE, covariance=COVARIANCE.of("K K"))
def policy_covariance(policy: ArrayLike, weight: ArrayLike, beta: float, covariance: ArrayLike) -> Array:
    """Limit covariance (K, K) of sqrt(n) (pi_n - pi) from that of the rewards, by Eq. (3).

    Args:
        policy: (K,) the optimum pi.
        weight: (K,) u f''(u) there.
        beta: strength of the divergence.
        covariance: (K, K), see `reward_covariance`.

    Example: reverse KL, two responses: d pi = pi (1 - pi) d(h_1 - h_2) / beta.
        >>> policy_covariance([0.5, 0.5], [1.0, 1.0], 1.0, [[1.0, -1.0], [-1.0, 1.0]]).tolist()
        [[0.25, -0.25], [-0.25, 0.25]]
    """
    a = np.asarray(policy, float) / (beta * np.asarray(weight, float))
    jacobian = np.diag(a) - np.outer(a, a) / a.sum()
    return jacobian @ np.asarray(covariance, float) @ jacobian


@checked(covariance=COVARIANCE.of("K K"), policy=POSITIVE_LAW.of("K"), curvature=POSITIVE)
def divergence_constant(covariance: ArrayLike, policy: ArrayLike, curvature: float) -> float:
    """Limit of n E D_f(pi_n || pi) = f''(1)/2 sum_y V_yy / pi_y.

    Example:
        >>> divergence_constant([[0.25, -0.25], [-0.25, 0.25]], [0.5, 0.5], 1.0)
        0.5
    """
    return float(curvature / 2 * (np.diag(np.asarray(covariance, float)) / np.asarray(policy, float)).sum())


@checked(covariance=COVARIANCE.of("K K"), policy=POSITIVE_LAW.of("K"), spread=POSITIVE)
def linear_regime(covariance: ArrayLike, policy: ArrayLike, spread: float) -> float:
    """The n from which first-order standard deviations of log pi_n are at most `spread` everywhere.

    Below it the limit says little: pi as a function of the rewards is curved on the scale of their error.

    Example:
        >>> linear_regime([[0.25, -0.25], [-0.25, 0.25]], [0.5, 0.5], 0.1)
        100.0
    """
    relative = np.diag(np.asarray(covariance, float)) / np.asarray(policy, float) ** 2
    return float(np.ceil(relative.max() / spread**2 - 1e-9))
