r"""What a policy that minimises paired AOT on a sample loses, and a bound on it with explicit constants.

In the paired problem one draw of n pairs gives both lists that are sorted: the margins U of the policy and
the margins V of the reference. To first order the error of the sorted value is the mean, over pairs, of

    f(pair) = phi(u) + psi(v),                                                             (1)

with phi and psi the optimal potentials of both lists. Its variance holds their covariance, which the unpaired
problem (`distalign.theory.aot.excess`) does not have. At the reference U = V pair by pair, f is constant and
the value has no error at all. Where the minimum is isolated and curved with Hessian H, the expected excess is

    (1/2n) tr H^{-1} Cov(dphi + dpsi),   d the derivative by the parameter.                 (2)

Theorem 3 of arXiv 2406.05882 bounds the excess by 2 R_n(F_c; U*) + 4 R_n(F_c^c; V) + 2 R_n(F_c o r o H),
Rademacher complexities of the c-concave functions at the optimum, at the reference and over all policies: of
order n^{-1/2}. With L the Lipschitz constant of the penalty, Kantorovich's duality in the place of the
complexities gives

    E excess <= (L / sqrt n) (S_{U*} + 2 S_V + S_class).                                    (3)

Proof. The excess is at most (C - C_n)(theta_n) + (C_n - C)(theta*), because theta_n minimises C_n. Each
|C_n - C| is at most L (W_1(U_n, U) + W_1(V_n, V)), and E W_1(X_n, X) <= S_X / sqrt n, S_X the integral of
sqrt(F (1 - F)), by Jensen's inequality at each x. That gives S_{U*} and 2 S_V. For the policy theta_n, which
depends on the sample, W_1(U_n, U) is the supremum over functions g of slope 1 with g(0) = 0 of
\sum_a (w_n - w)_a g(u_a), at most \sum_a |w_n - w|_a e_a where no policy of the class has |u_a| > e_a, and
E |w_n - w|_a <= sqrt(w_a (1 - w_a) / n). S_class is the sum of sqrt(w_a (1 - w_a)) e_a.

L is that of the penalty on [-D, D], D the largest |u_a - v_a| of the class: sorting couples both lists no
farther apart than the pairs do, on the sample and on the law, so the penalty may go on as a line outside.

Source: ours (the delta method, and (3)); the order n^{-1/2} and the structure 2 : 4 : 2 are the paper's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import LAW, NONNEGATIVE, REAL, checked, quantity
from distalign.types import Array


@checked(policy=REAL.of("A k"), reference=REAL.of("A k"), p=LAW.of("A"))
def paired_covariance(policy: ArrayLike, reference: ArrayLike, p: ArrayLike) -> Array:
    """Cov_p(policy + reference), (k, k): n times the covariance of a mean of (1) over n pairs.

    Args:
        policy: (A, k) values on the margins of the policy, for instance potentials or their derivatives.
        reference: (A, k) values on the margins of the reference, of the same pairs.
        p: (A,) law of the pairs, of sum 1.

    Example: potentials that cancel on every pair have no error.
        >>> paired_covariance([[0.0], [1.0]], [[1.0], [0.0]], [0.5, 0.5]).tolist()
        [[0.0]]
    """
    weights, values = np.asarray(p, float), np.asarray(policy, float) + np.asarray(reference, float)
    centred = values - weights @ values
    return (weights[:, None] * centred).T @ centred


@checked(x=REAL.of("A"), p=LAW.of("A"))
def law_spread(x: ArrayLike, p: ArrayLike) -> float:
    r"""S = \int sqrt(F (1 - F)) of a law on finitely many points: E W_1(X_n, X) <= S / sqrt n.

    Args:
        x: (A,) points.
        p: (A,) their weights, of sum 1.

    Example: a fair coin on 0 and 1.
        >>> law_spread([1.0, 0.0], [0.5, 0.5])
        0.5
    """
    points, order = np.asarray(x, float), np.argsort(x)
    below = np.cumsum(np.asarray(p, float)[order])[:-1]
    return float(np.sqrt((below * (1 - below)).clip(0)) @ np.diff(points[order]))


@checked(envelope=NONNEGATIVE.of("A"), p=LAW.of("A"))
def class_spread(envelope: ArrayLike, p: ArrayLike) -> float:
    """S_class of Eq. (3), the sum of sqrt(p_a (1 - p_a)) e_a: E sup W_1(U_n, U) <= S_class / sqrt n.

    The supremum is over all policies of a class.

    Args:
        envelope: (A,) e, the largest |margin| that a policy of the class can give to each pair.
        p: (A,) law of the pairs, of sum 1.

    Example: a fair coin, and margins that never exceed 3.
        >>> class_spread([3.0, 3.0], [0.5, 0.5])
        3.0
    """
    weights = np.asarray(p, float)
    return float(np.sqrt((weights * (1 - weights)).clip(0)) @ np.asarray(envelope, float))


@checked(
    n=quantity(),
    lipschitz=NONNEGATIVE,
    spread_optimum=NONNEGATIVE,
    spread_reference=NONNEGATIVE,
    spread_class=NONNEGATIVE,
)
def paired_excess_bound(
    n: int, lipschitz: float, spread_optimum: float, spread_reference: float, spread_class: float
) -> float:
    """Bound (3) on the expected excess of the policy that minimises paired AOT on n pairs.

        (L / sqrt n) (S_{U*} + 2 S_V + S_class)

    Where the law of the reference's margins is known and sorted in place of the sample's, S_V is 0.

    Args:
        n: number of pairs.
        lipschitz: L, the Lipschitz constant of the penalty on the differences that the class can reach.
        spread_optimum: S_{U*}, of the margins of the best policy (`law_spread`).
        spread_reference: S_V, of the margins of the reference.
        spread_class: `class_spread`.

    Example:
        >>> paired_excess_bound(100, 1.0, 1.0, 0.5, 3.0)
        0.5
    """
    return lipschitz * (spread_optimum + 2 * spread_reference + spread_class) / float(np.sqrt(n))
