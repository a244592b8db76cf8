r"""What policy gradient pays in sampled texts for the policy that f-DPO reads off the pairs.

f-DPO on n pairs is the f-regularised optimum pi of the Bradley-Terry fit h. Policy gradient of h has the same
optimum. With logits theta, gains g = h - beta f'(pi_theta / ref) and M texts an update, the leave-one-out
estimator is

    G = C_M g,   C_M = (diag(n) - n n^T / M) / (M - 1),   n the counts of the texts,                       (1)

the sample covariance of one-hot vectors: unbiased, and 0 wherever g is constant. At pi the gain *is* the
same for every response, so nothing is left there to be noisy. A displacement delta of the logits changes the
gain by -B delta, B = diag(beta u f''(u)) (I - 1 pi^T), so that near pi an update at rate eta is a random
linear map,

    delta <- (I - eta C_M B) delta,   S <- E[(I - eta C_M B) S (I - eta C_M B)^T],   S = E delta delta^T.  (2)

The excess, the value missed, is  beta/2 \sum_y pi_y u_y f''(u_y) (delta_y - pi . delta)^2,  and its mean
falls like the largest eigenvalue of (2) on displacements of sum 0. An update that draws no text y leaves
delta_y as it is: so whatever eta and M are,

    decay >= (1 - pi_y)^M  for every y.                                                                    (3)

In a class that does not hold pi, logits log ref + X theta, the gain is not constant at the optimum, the noise
stays, and theta fluctuates with a covariance S that solves a Lyapunov equation,

    H S + S H - eta H S H = eta N,   H = -Hessian of the value,   N = Cov(X^T C_M g).                      (4)

What n pairs miss in turn is `distalign.theory.f_dpo.coverage.regret_constant` over n.

Source: ours. That an estimator may have no noise at its optimum is known from variational inference (Roeder,
Wu and Duvenaud 2017, arXiv 1703.09194); leave-one-out baselines are those of `distalign.policy_gradient`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve

from distalign.arguments import POSITIVE, POSITIVE_LAW, REAL, checked, whole_number
from distalign.types import Array

_TEXTS = whole_number(2, 10**6).meaning("a text is compared with the others of its update")
_UPDATES = whole_number(0, 10**4).meaning("count them")
_FEW = POSITIVE_LAW.of("K")
_RATE = POSITIVE.solvable


@checked(policy=_FEW, texts=_TEXTS)
def covariance_moment(policy: ArrayLike, texts: int) -> Array:
    """E[C_M (x) C_M], (K^2, K^2), of the sample covariance of M one-hot vectors, equation (1).

    C_M is the mean over pairs of texts of (e_i - e_j)(e_i - e_j)^T / 2, so its second moment is that of its
    mean plus  (4 (M - 2) z_1 + 2 z_2) / (M (M - 1)),  z_1 and z_2 the covariances of this matrix over pairs
    that share one text and two.

    Args:
        policy: (K,) law of the texts.
        texts: M, at least 2.

    Source: ours; the variance of a U-statistic is Hoeffding's (1948).

    Example: two texts of a coin differ half of the time, and then C_M is (1, -1; -1, 1) / 2.
        >>> float(covariance_moment([0.5, 0.5], 2)[0, 0])
        0.125
    """
    p = np.asarray(policy, float)
    k = len(p)
    one_hot = np.eye(k)
    gaps = one_hot[:, None] - one_hot
    of_pair = np.einsum("ija,ijb->ijab", gaps, gaps).reshape(k, k, k * k) / 2
    of_text = np.einsum("j,ija->ia", p, of_pair)
    mean = p @ of_text
    one = np.einsum("i,ia,ib->ab", p, of_text, of_text) - np.outer(mean, mean)
    two = np.einsum("i,j,ija,ijb->ab", p, p, of_pair, of_pair) - np.outer(mean, mean)
    moment = np.outer(mean, mean) + (4 * (texts - 2) * one + 2 * two) / (texts * (texts - 1))
    return moment.reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)


@checked(policy=_FEW, weight=POSITIVE.solvable.of("K"), beta=_RATE, rate=_RATE, texts=_TEXTS)
def second_moment(policy: ArrayLike, weight: ArrayLike, beta: float, rate: float, texts: int) -> Array:
    """The matrix (K^2, K^2) by which an update multiplies E delta delta^T, row by row: equation (2).

    Args:
        policy: (K,) the optimum pi.
        weight: (K,) u f''(u) there.
        beta: price of the divergence.
        rate: eta, of an update of the logits.
        texts: M.

    Source: ours.

    Example: two responses, reverse KL, beta = 1: C B is (1, -1; -1, 1) / 4.
        >>> change = second_moment([0.5, 0.5], [1.0, 1.0], 1.0, 0.1, 2)
        >>> round(float((change @ [1.0, -1.0, -1.0, 1.0])[0]), 9)  # 1 - 2 (0.1) / 2 + (0.1)^2 / 2
        0.905
    """
    p = np.asarray(policy, float)
    unit = np.eye(len(p))
    gain = beta * np.asarray(weight, float)[:, None] * (unit - p)
    drift = (np.diag(p) - np.outer(p, p)) @ gain
    pull = np.kron(drift, unit) + np.kron(unit, drift)
    noise = covariance_moment(p, texts) @ np.kron(gain, gain)
    return np.eye(len(p) ** 2) - rate * pull + rate**2 * noise


@checked(
    displacement=REAL.solvable.of("K"),
    policy=_FEW,
    weight=POSITIVE.solvable.of("K"),
    beta=_RATE,
    rate=_RATE,
    texts=_TEXTS,
    updates=_UPDATES,
)
def mean_excess(
    displacement: ArrayLike,
    policy: ArrayLike,
    weight: ArrayLike,
    beta: float,
    rate: float,
    texts: int,
    updates: int,
) -> float:
    """Mean regularised value still missed after so many updates from pi displaced by delta, by equation (2).

    Args:
        displacement: (K,) delta, of logits, small.
        policy, weight, beta, rate, texts: as in `second_moment`.
        updates: how many.

    Source: ours.

    Example: no update: (1/2) (0.1)^2, and with one 9.5 % less.
        >>> setting = [0.1, -0.1], [0.5, 0.5], [1.0, 1.0], 1.0, 0.1, 2
        >>> [round(mean_excess(*setting, t), 9) for t in (0, 1)]
        [0.005, 0.004525]
    """
    d, p = np.asarray(displacement, float), np.asarray(policy, float)
    change = np.linalg.matrix_power(second_moment(p, weight, beta, rate, texts), updates)
    centred = np.eye(len(p)) - p
    curvature = centred.T @ ((beta * p * np.asarray(weight, float))[:, None] * centred)
    return float(curvature.ravel() @ change @ np.outer(d, d).ravel()) / 2


@checked(policy=_FEW, weight=POSITIVE.solvable.of("K"), beta=_RATE, rate=_RATE, texts=_TEXTS)
def decay(policy: ArrayLike, weight: ArrayLike, beta: float, rate: float, texts: int) -> float:
    """What the mean excess is multiplied by in each late update: below 1 where policy gradient ends at pi.

    It is the largest eigenvalue of `second_moment` on displacements of sum 0.

    Args:
        policy, weight, beta, rate, texts: as in `second_moment`.

    Source: ours.

    Example:
        >>> round(decay([0.5, 0.5], [1.0, 1.0], 1.0, 0.1, 2), 9)
        0.905
    """
    p = np.asarray(policy, float)
    basis = np.linalg.svd(np.ones((1, len(p))))[2][1:].T
    both = np.kron(basis, basis)
    change = both.T @ second_moment(p, weight, beta, rate, texts) @ both
    return float(np.abs(np.linalg.eigvals(change)).max())


@checked(policy=_FEW)
def least_texts(policy: ArrayLike) -> float:
    """Texts without which the mean excess does not fall to 1/e, at any rate: -1 / log(1 - min pi), from (3).

    Args:
        policy: (K,) the optimum pi, K at least 2.

    Source: ours.

    Example: the rarer response is one text in ten.
        >>> round(least_texts([0.9, 0.1]), 4)
        9.4912
    """
    return float(-1 / np.log1p(-min(np.min(np.asarray(policy, float)), 1 - 2.0**-53)))


@checked(
    features=REAL.solvable.of("K d"),
    policy=_FEW,
    gain=REAL.solvable.of("K"),
    weight=POSITIVE.solvable.of("K"),
    beta=_RATE,
)
def class_curvature(
    features: ArrayLike, policy: ArrayLike, gain: ArrayLike, weight: ArrayLike, beta: float
) -> Array:
    r"""H (d, d), minus the Hessian by theta of the regularised value of a log-linear policy.

        H_ij = Cov(x_i, beta u f''(u) (x_j - E x_j)) - E (x_i - E x_i)(x_j - E x_j)(g - E g)   under pi

    Args:
        features: (K, d) X; the logits are log ref + X theta.
        policy: (K,) pi at theta.
        gain: (K,) g = r - beta f'(pi / ref).
        weight: (K,) u f''(u).
        beta: price of the divergence.

    Source: ours.

    Example: where the gain is constant, H is the covariance of X, at beta = 1 and for the reverse KL.
        >>> class_curvature([[1.0], [-1.0]], [0.5, 0.5], [0.3, 0.3], [1.0, 1.0], 1.0).tolist()
        [[1.0]]
    """
    p, g = np.asarray(policy, float), np.asarray(gain, float)
    x = np.asarray(features, float)
    x = x - p @ x
    slope = (beta * np.asarray(weight, float))[:, None] * x
    return x.T @ (p[:, None] * (slope - p @ slope - (g - p @ g)[:, None] * x))


def _peaked(curvature: ArrayLike) -> str:
    """A relation: the value has a maximum."""
    h = np.asarray(curvature, float)
    if np.linalg.eigvalsh((h + h.T) / 2).min() > 1e-12 * np.abs(h).max():
        return ""
    return "curvature must be positive definite: take the policy at a maximum of the value"


@checked(
    _peaked,
    features=REAL.solvable.of("K d"),
    policy=_FEW,
    gain=REAL.solvable.of("K"),
    curvature=REAL.solvable.of("d d"),
    rate=_RATE,
    texts=_TEXTS,
)
def stationary_excess(
    features: ArrayLike, policy: ArrayLike, gain: ArrayLike, curvature: ArrayLike, rate: float, texts: int
) -> float:
    """Mean value missed for ever at a fixed rate in a class too small: tr(H S) / 2 with S of equation (4).

    To first order in the rate, where it is eta tr(N) / 4.

    Args:
        features: (K, d) X.
        policy: (K,) the best pi of the class.
        gain: (K,) g there.
        curvature: (d, d) H, of `class_curvature`.
        rate: eta, of an update of theta.
        texts: M.

    Source: ours (the stationary covariance of a linear recursion).

    Example: two texts of a coin differ half of the time, and then the gradient is 1 for g = (1, -1).
        >>> round(stationary_excess([[1.0], [0.0]], [0.5, 0.5], [1.0, -1.0], [[1.0]], 0.01, 2), 6)
        0.000628
    """
    x, p, g = (np.asarray(a, float) for a in (features, policy, gain))
    h = np.asarray(curvature, float)
    k, d = x.shape
    mean = x.T @ (p * (g - p @ g))
    second = (covariance_moment(p, texts) @ np.outer(g, g).ravel()).reshape(k, k)
    noise = x.T @ second @ x - np.outer(mean, mean)
    unit = np.eye(d)
    pull = np.kron(h, unit) + np.kron(unit, h) - rate * np.kron(h, h)
    spread = solve(pull, rate * noise.ravel()).reshape(d, d)
    return float(np.trace(h @ spread)) / 2
