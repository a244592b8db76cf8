r"""Bregman preference optimisation in theory: the divergence, its gradient, and what it costs on samples.

With R = e^{-t} the ratio that a policy gives to a pair, t the difference of its implicit rewards, and R_data
= P(l > w) / P(w > l), the loss is E [h(R_data) - h(R) - h'(R) (R_data - R)] up to a constant. Its derivative
in R is G(R) = R h''(R) + h''(1/R) / R^2, and G(1/R) = R G(R). So a pair shown with frequency q and won with
probability P has

    q a(t) [sigma(t) - P],   a(t) = G(R) / sigma(t) = G(R) (1 + R),                                        (1)

as the derivative in t of its part of the loss: that of logistic regression, times a weight a that is the same
for both orders, and 1 for the logistic h. Under Bradley-Terry (1) is 0 at the truth for every a, and the fit
on n comparisons is a weighted logistic regression, whose rewards have the limit covariance

    n Cov -> A^+ B A^+,   A, B Laplacians of the graph with weights q P (1 - P) a and q P (1 - P) a^2,     (2)

which is smallest for constant a, the maximum likelihood fit (Gauss and Markov). Off Bradley-Terry the sum of
(1) over the pairs of a response vanishes at a point that depends on a.

Source: the loss is that of Kim et al. 2025, arXiv 2505.19601; (1), (2) and what follows are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import root
from scipy.special import expit, softmax

from distalign.arguments import COVARIANCE, MASSES, POSITIVE, POSITIVE_LAW, REAL, Numbers, OneOf, checked
from distalign.types import Array

GENERATORS = ("logistic", "kliep", "lsif", "sba")
_GENERATOR = OneOf(GENERATORS)
_POWER = Numbers("from -0.99 to 4 and not 0", "0.5 and -0.5 are usual", low=-0.99, high=4)


def _no_limit(power: float) -> str:
    """A relation: h of the scaled Basu power has no formula of its own at k = 0."""
    return "power must not be 0: take kliep, which is the limit" if power == 0 else ""


@checked(_no_limit, generator=_GENERATOR, data=POSITIVE.elementwise, model=POSITIVE.elementwise, power=_POWER)
def divergence(generator: str, data: Array, model: Array, power: float) -> Array:
    """Bregman divergence h(x) - h(y) - h'(y) (x - y) of ratios x = `data` and y = `model`.

    Args:
        generator: h, as in `distalign.objectives.bpo`.
        data, model: ratios above 0, of any shape.
        power: k of sba, neither 0 nor -1.

    Source: arXiv 2505.19601, Table 2.

    Example:
        >>> float(divergence("lsif", np.array(3.0), np.array(1.0), 0.5))
        4.0
    """
    k = power
    h, slope = {
        "logistic": (
            lambda r: (r * np.log(r) - (1 + r) * np.log1p(r)) / 2,
            lambda r: (np.log(r) - np.log1p(r)) / 2,
        ),
        "kliep": (lambda r: r * np.log(r) - r, np.log),
        "lsif": (lambda r: (r - 1) ** 2, lambda r: 2 * (r - 1)),
        "sba": (
            lambda r: (r ** (1 + k) - r) / (4 * k * (1 + k)),
            lambda r: ((1 + k) * r**k - 1) / (4 * k * (1 + k)),
        ),
    }[generator]
    return h(data) - h(model) - slope(model) * (data - model)


@checked(generator=_GENERATOR, margin=REAL.elementwise, power=REAL)
def pair_weight(generator: str, margin: Array, power: float) -> Array:
    """The weight a of (1), an even function of the margin t.

    Args:
        generator: h.
        margin: t, of any shape.
        power: k of sba.

    Source: ours, from Proposition 4 of arXiv 2505.19601.

    Example: at t = 0 G is 1/2 for the logistic h and for sba.
        >>> [float(pair_weight(g, np.array(0.0), 0.7)) for g in GENERATORS]
        [1.0, 4.0, 8.0, 1.0]
    """
    r, k = np.exp(-margin), power
    gradient = {
        "logistic": lambda: 1 / (1 + r),
        "kliep": lambda: 1 + 1 / r,
        "lsif": lambda: 2 * r + 2 / r**2,
        "sba": lambda: (r**k + r ** (-k - 1)) / 4,
    }[generator]()
    return gradient * (1 + r)


@checked(generator=_GENERATOR, pairs=MASSES.of("K K"), power=REAL)
def bregman_covariance(generator: str, pairs: Array, power: float) -> Array:
    """Limit covariance (2), (K, K), of sqrt(n) times the error of the rewards, both of mean 0.

    Args:
        generator: h.
        pairs: (K, K) law of (winner, loser), Bradley-Terry, every pair that is shown won by either side.
        power: k of sba.

    Source: ours.

    Example: one pair has one parameter, and every weight gives the same.
        >>> pairs = np.array([[0.0, 0.6], [0.4, 0.0]])
        >>> [round(float(bregman_covariance(g, pairs, 0.5)[0, 0]), 9) for g in GENERATORS]
        [1.041666667, 1.041666667, 1.041666667, 1.041666667]
    """
    both = pairs + pairs.T
    shown = (both > 0) & ~np.eye(len(pairs), dtype=bool)
    wins = np.divide(pairs, both, out=np.full_like(pairs, 0.5), where=shown)
    margin = np.log(wins) - np.log1p(-wins)
    weight = pair_weight(generator, margin, power)
    information = np.where(shown, both * wins * (1 - wins), 0.0)

    def laplacian(edges: Array) -> Array:
        return np.diag(edges.sum(1)) - edges

    slope, spread = laplacian(information * weight), laplacian(information * weight**2)
    # Constants cost nothing; with a cost of the size of the others the matrix is regular.
    constant = np.full_like(slope, np.trace(slope) / len(slope) ** 2)
    projection = np.eye(len(slope)) - 1 / len(slope)
    inverse = projection @ np.linalg.inv(slope + constant) @ projection
    return inverse @ spread @ inverse.T


@checked(policy=POSITIVE_LAW.of("K"), covariance=COVARIANCE.of("K K"), beta=POSITIVE)
def kl_constant(policy: Array, covariance: Array, beta: float) -> float:
    """The limit of n E KL(pi || pi_n) for policies pi_ref exp(reward / beta): tr(J C) / (2 beta^2).

    J = diag(pi) - pi pi^T.

    Args:
        policy: (K,) the target pi.
        covariance: (K, K) C, of `bregman_covariance`.
        beta: strength of the pull to the reference.

    Source: ours (the delta method).

    Example:
        >>> kl_constant(np.array([0.5, 0.5]), np.array([[1.0, -1.0], [-1.0, 1.0]]), 1.0)
        0.5
    """
    return float(policy @ np.diag(covariance) - policy @ covariance @ policy) / (2 * beta**2)


@checked(
    generator=_GENERATOR,
    pairs=MASSES.of("K K"),
    reference=POSITIVE_LAW.of("K"),
    beta=POSITIVE,
    power=REAL,
)
def limit_policy(generator: str, pairs: Array, reference: Array, beta: float, power: float) -> Array:
    """The policy (K,) at which the sums of (1) vanish, from the maximum likelihood fit on.

    Args:
        generator: h.
        pairs: (K, K) law of (winner, loser), any; every pair won by either side.
        reference: (K,) pi_ref.
        beta: strength of the pull to the reference.
        power: k of sba.

    Source: ours.

    Example: without cycles it is DPO's, pi_ref exp(r / beta).
        >>> pairs, reference = np.array([[0.0, 0.6], [0.4, 0.0]]), np.array([0.5, 0.5])
        >>> limit_policy("lsif", pairs, reference, 1.0, 0.5).round(9).tolist()
        [0.6, 0.4]
    """
    both = pairs + pairs.T

    def slope(reward: Array, name: str) -> Array:
        margin = np.subtract.outer(reward, reward)
        terms = pair_weight(name, margin, power) * (both * expit(margin) - pairs)
        return terms.sum(1) + reward.sum()  # the second term fixes the sum of the rewards

    fitted: Any = root(slope, np.zeros(len(pairs)), args=("logistic",), tol=1e-13)
    fitted = root(slope, fitted.x, args=(generator,), tol=1e-13)
    return softmax(np.log(reference) + fitted.x / beta)
