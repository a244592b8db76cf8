r"""What finite samples do to AOT's value: false violations, the bias of a small sort batch, and a bound.

With n draws of U (chosen) and n independent draws of V (rejected) the sorted value is (1/n) \sum_i h(u_(i) -
v_(i)), and its expectation is a sum over order statistics. For uniform laws those are Beta(i, n + 1 - i),
which makes most of this exact.

Source: all closed forms here are ours. That the value is consistent at n^{-1/2}, and its gradient
asymptotically unbiased (without a rate), are Corollary 1 and Theorem 4 of arXiv 2406.05882.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.special import gammaln, ndtr
from scipy.stats import binom

from distalign.arguments import FUNCTION, NONNEGATIVE, REAL, UNIT, OneOf, checked, quantity, whole_number
from distalign.checks import one_of
from distalign.types import Array

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(200)


def _quadrature(law: str, batch: int) -> str:
    fits = law == "uniform" or batch <= 100_000
    return "" if fits else f"batch must be at most 100000 for normal laws, got {batch}: take the limit, 0"


@checked(n=quantity())
def null_hinge_exact(n: int) -> float:
    """Expected hinge value, margin 0, of n and n draws of one uniform law on [0, 1].

        sqrt(pi)/8 Gamma(n + 1)/Gamma(n + 3/2),  to first order  sqrt(pi / n) / 8

    E (v_(i) - u_(i))_+ is half the mean difference of Beta(i, j), j = n + 1 - i:

        2 B(n+1, n+1) / ((n+1) B(i, i) B(j, j)).

    With 1/B(i, i) = i C(2i, i)/2, whose generating function is x (1 - 4x)^{-3/2}, the sum over i is a
    binomial series.

    Example:
        >>> round(null_hinge_exact(1) * 6, 12), round(null_hinge_exact(10**6) * 1000, 6)
        (1.0, 0.221557)
    """
    return float(np.sqrt(np.pi) / 8 * np.exp(gammaln(n + 1) - gammaln(n + 1.5)))


@checked(n=quantity().elementwise, gap=UNIT.elementwise)
def false_violation(n: int, gap: float) -> float:
    """Chance that samples of V ~ Unif(0, 1) and U ~ gap + Unif(0, 1) violate the dominance of U over V.

        n/(n+1) (1-gap)/(1+gap) (1-gap^2)^n

    Sorted samples violate it where some u_(i) < v_(i). Given k values of V below `gap` and l of U above 1,
    the merged order of the others is a uniform random walk from k to l, and the reflection principle counts
    those that pass below 0; the sum over the binomial k and l is a multinomial one. At gap 0 this is the
    ballot theorem's n/(n+1).

    Example:
        >>> round(false_violation(1, 0.25), 5), round(false_violation(9, 0.0), 12)
        (0.28125, 0.9)
    """
    return n / (n + 1) * (1 - gap) / (1 + gap) * (1 - gap**2) ** n


@checked(gap=UNIT)
def false_violation_decay(gap: float) -> float:
    """-log(1 - gap^2): by how much the log of `false_violation` falls with each further sample, in the limit.

    Example:
        >>> round(false_violation_decay(0.25), 4)
        0.0645
    """
    return float(-np.log1p(-(gap**2)))


@checked(
    n=quantity(),
    lipschitz=NONNEGATIVE.elementwise,
    spread_u=NONNEGATIVE.elementwise,
    spread_v=NONNEGATIVE.elementwise,
)
def explicit_bound(n: int, lipschitz: float, spread_u: float, spread_v: float) -> float:
    r"""Bound on E |plug-in cost - cost| for a penalty h that is L-Lipschitz.

        (L / sqrt n) (S_U + S_V),   S = \int sqrt(F (1 - F)) dx

    The error |cost of (mu_n, nu_n) - cost of (mu, nu)| is at most L (W_1(mu_n, mu) + W_1(nu_n, nu)), and E
    W_1(mu_n, mu) <= S_U / sqrt n by Jensen's inequality at each x. A law on [-M, M] has S <= M (reached by a
    fair coin on both ends), so the bound is at most 2 L M / sqrt n.

    Example:
        >>> explicit_bound(100, 1.0, 1.0, 1.0)
        0.2
    """
    return lipschitz * (spread_u + spread_v) / float(np.sqrt(n))


@checked(_quadrature, law=OneOf(("uniform", "normal")), batch=whole_number())
@cache
def order_variance(law: str, batch: int) -> float:
    r"""Mean variance of the order statistics of b draws of a law of mean 0 and variance 1.

        (1/b) \sum_i Var Z_(i)

    It is 2/(b+1) for `uniform`, and 1 - (1/b) \sum_i (E Z_(i))^2, by quadrature, for `normal`. For two laws
    of this shape with standard deviations s and s', sorted in batches of b, the least-squares value is biased
    by 2 s s' order_variance.

    Example:
        >>> round(order_variance("uniform", 3), 12), round(order_variance("normal", 2), 6)  # 1 - 1/pi
        (0.5, 0.68169)
    """
    one_of("law", law, ("uniform", "normal"))
    if law == "uniform":
        return 2 / (batch + 1)
    x = np.linspace(-9.0, 9.0, 4001)
    # half of the ranks: the other half has the same means with the other sign
    ranks = binom.pmf(np.arange(batch // 2)[:, None], batch - 1, ndtr(x))
    means = batch * ranks @ (x * np.exp(-x * x / 2)) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    return float(1 - 2 * means @ means / batch)


@checked(curvature=FUNCTION, shift=REAL, spread_u=NONNEGATIVE, spread_v=NONNEGATIVE)
def batch_bias_constant(
    curvature: Callable[[Array], Array], shift: float, spread_u: float, spread_v: float
) -> float:
    r"""Limit of b (expected value sorted in batches of b - cost), with b draws of each law.

        \int_0^1 h''(Q_U - Q_V) Q_U' Q_V' t (1-t) dt

    for uniform laws of standard deviations `spread_u`, `spread_v` and difference of means `shift`. The
    variance of the order statistics adds (1/2) h'' t (1-t) (Q_U'^2 + Q_V'^2), and their mean positions
    i/(b+1) take off (1/2) h'' t (1-t) (Q_U' - Q_V')^2. The constant is never negative for convex h: a small
    batch always overstates the violation. Its derivatives by shift and standard deviation are the limits of b
    times the gradient's bias, which gives Theorem 4 a rate.

    Args:
        curvature: h'', (N,) -> (N,).
        shift: mean of U minus mean of V.
        spread_u: standard deviation of U.
        spread_v: standard deviation of V.

    Example:
        >>> curvature = lambda x: np.full_like(x, 2.0)  # least squares
        >>> round(batch_bias_constant(curvature, 0.3, 1.0, 1.5), 12)  # 2 s s' b order_variance
        6.0
    """
    t = (_NODES + 1) / 2
    gap = shift + np.sqrt(12) * (spread_u - spread_v) * (t - 0.5)
    return float(12 * spread_u * spread_v * (_NODE_WEIGHTS / 2) @ (curvature(gap) * t * (1 - t)))


@checked(
    penalty=FUNCTION,
    shift=REAL,
    spread_u=NONNEGATIVE,
    spread_v=NONNEGATIVE,
    batch=whole_number(most=1_000_000),
)
def sorted_bias(
    penalty: Callable[[Array], Array], shift: float, spread_u: float, spread_v: float, batch: int
) -> float:
    r"""Expected value sorted in batches of b minus the cost, with b draws of each of two uniform laws.

        \int_0^1 \int_0^1 h(Q_U(s) - Q_V(t)) k_b(s, t) ds dt - \int_0^1 h(Q_U - Q_V) dt

    where k_b is the mean over ranks i of beta_i(s) beta_i(t), the densities of the order statistics of b
    uniform draws. By quadrature, accurate to 1e-9 for smooth penalties up to b = 512.

    Args:
        penalty: h, elementwise.
        shift, spread_u, spread_v: as in `batch_bias_constant`.
        batch: b.

    Example:
        >>> round(sorted_bias(np.square, 0.3, 1.0, 1.5, 3), 12)  # 2 s s' order_variance
        1.5
    """
    t = (_NODES + 1) / 2
    ranks = _NODE_WEIGHTS / 2 * binom.pmf(np.arange(batch)[:, None], batch - 1, t)
    u, v = shift + np.sqrt(12) * spread_u * (t - 0.5), np.sqrt(12) * spread_v * (t - 0.5)
    expected = batch * np.sum(ranks.T @ ranks * penalty(u[:, None] - v))
    return float(expected - _NODE_WEIGHTS / 2 @ penalty(u - v))


@checked(
    _quadrature, spread_v=NONNEGATIVE.elementwise, batch=whole_number(), law=OneOf(("uniform", "normal"))
)
def learned_spread(spread_v: float, batch: int, law: str = "uniform") -> float:
    """Standard deviation that a policy's margins reach under least-squares AOT with sort batches of b.

        spread_v (1 - order_variance)

    Margins of the policy are a + s Z with (a, s) trained, those of the reference spread_v Z' with Z'
    independent of Z. Sorted in batches of b the expected value is

        (margin - a)^2 + s^2 + spread_v^2 - 2 s spread_v (1 - order_variance(b)).

    The whole law matches the reference's standard deviation; a batch of one pair, where AOT is DPO's
    coupling, gives s = 0.

    Example:
        >>> [round(learned_spread(1.0, b), 4) for b in (1, 3, 99)]
        [0.0, 0.5, 0.98]
    """
    return spread_v * (1 - order_variance(law, batch))
