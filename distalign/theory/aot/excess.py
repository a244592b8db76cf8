"""What a policy that minimises AOT on a sample loses against the population's minimiser.

On a finite set of responses the cost is, near generic weights, linear in the laws p of chosen and q of
rejected responses, with the optimal potentials phi and psi as derivatives. Its error at a fixed policy is
therefore asymptotically normal with variance

    (Var_p phi + (n/m) Var_q psi) / n.                                                  (1)

Where the population's minimiser is unique and the cost is curved there, with Hessian H, the empirical
minimiser is normal around it and loses

    (1/2n) tr H^{-1} (Cov_p dphi + (n/m) Cov_q dpsi),                                   (2)

d being the derivative by the parameter. That is n^{-1}, against the n^{-1/2} of arXiv 2406.05882 (Corollary
1), which is uniform over laws and policy classes. Two policies whose costs differ by about n^{-1/2} show that
a uniform guarantee can be no better than n^{-1/2}.

Source: ours (the delta method); the guarantee is the paper's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from distalign.arguments import COVARIANCE, LAW, POSITIVE, REAL, checked
from distalign.types import Array

FAST_EXPONENT = -1.0


def _definite_fault(matrix: Array) -> str:
    least = np.linalg.eigvalsh((matrix + matrix.T) / 2).min() if matrix.shape[0] == matrix.shape[-1] else 0.0
    return "" if least > 1e-12 * abs(matrix).max() else f"a least eigenvalue of {least:g}"


_HESSIAN = replace(REAL, remedy="give the Hessian at a strict minimum", also=_definite_fault)


@checked(chosen=REAL.of("A k"), rejected=REAL.of("B k"), p=LAW.of("A"), q=LAW.of("B"), ratio=POSITIVE)
def covariance(
    chosen: ArrayLike, rejected: ArrayLike, p: ArrayLike, q: ArrayLike, ratio: float = 1.0
) -> Array:
    """Cov_p chosen + ratio Cov_q rejected, (k, k): the covariances of Eqs. (1) and (2).

    This is n times the covariance of weighted sums over n draws of chosen and n / ratio of rejected
    responses.

    Args:
        chosen: (A, k) values on the chosen responses, for instance potentials.
        rejected: (B, k) values on the rejected responses.
        p, q: (A,), (B,) laws of sum 1.
        ratio: n / m.

    Example: a fair coin on each side.
        >>> covariance([[0.0], [1.0]], [[0.0], [2.0]], [0.5, 0.5], [0.5, 0.5], ratio=2.0).tolist()
        [[2.25]]
    """
    return _covariance(np.asarray(chosen, float), np.asarray(p, float)) + ratio * _covariance(
        np.asarray(rejected, float), np.asarray(q, float)
    )


@checked(hessian=_HESSIAN.of("d d"), covariance=COVARIANCE.of("d d"))
def excess_constant(hessian: ArrayLike, covariance: ArrayLike) -> float:
    """tr(H^{-1} C) / 2: the limit of n times the expected excess of an empirical minimiser, Eq. (2).

    Args:
        hessian: (d, d) H, positive definite, of the population objective at its minimiser.
        covariance: (d, d) C, n times the covariance of the empirical gradient there.

    Example: a mean under half its squared error: C is the variance.
        >>> excess_constant([[1.0]], [[4.0]])
        2.0
    """
    return float(np.trace(np.linalg.solve(np.asarray(hessian, float), np.asarray(covariance, float)))) / 2


@checked(distance=REAL)
def two_policy_excess(distance: float) -> float:
    """c Phi(-c): expected excess of choosing between two policies on a sample, times sqrt(n) / sd.

    The costs of the two policies differ by c sd / sqrt(n).

    sd / sqrt(n) is the standard deviation of the difference of their empirical costs. The excess is largest,
    0.17, at c = 0.75.

    Example:
        >>> round(two_policy_excess(0.75), 4)
        0.17
    """
    return float(distance * ndtr(-distance))


def _covariance(values: Array, weights: Array) -> Array:
    centred = values - weights @ values
    return (weights[:, None] * centred).T @ centred
