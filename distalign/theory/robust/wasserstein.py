"""Bounds for robust losses on a log-linear class: envelopes, strong convexity, and guarantees with constants.

The loss of an atom is l = log(1 + exp(-t)), t = beta <theta, v>, theta measured from the reference policy's
parameter. Both parameters lie in a ball of radius B, so |t| <= 4 beta B for features of norm at most 1.

Source: guarantees and strong convexity as named below; envelopes, repairs and first informative sizes are
ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from distalign.arguments import INSIDE_UNIT, LAW, NONNEGATIVE, POSITIVE, REAL, checked, quantity, whole_number
from distalign.types import Array

_EXPONENT = replace(REAL, words="below 0, from -100 to -0.01", remedy="an error falls", low=-100, high=-0.01)


def _not_flat(beta: float, norm: float) -> str:
    fits = beta * norm <= 80
    return (
        "" if fits else f"beta times norm must be at most 80, got {beta * norm:.3g}: no bound is left beyond"
    )


@checked(theta=REAL.of("... d"), v=REAL.of("m d"), p=LAW.of("m"), radius=NONNEGATIVE, beta=POSITIVE)
def sandwich(
    theta: ArrayLike, v: ArrayLike, p: ArrayLike, radius: float, beta: float = 1.0
) -> tuple[Array, Array, Array]:
    """E l, and a lower and an upper bound of the robust loss over a W_2 ball of R^d, at (R, d) parameters.

        E l + rho g  <=  sup  <=  min(E l + rho beta |theta|,  E l + rho g + (rho beta |theta|)^2 / 8),
        g = sqrt(E |grad_v l|^2),   |grad_v l| = beta |theta| sigma(-t)

    For the lower bound move every atom by rho |grad_v l| / g along its gradient and use convexity. For the
    upper bound use W_1 <= W_2 and the Lipschitz constant beta |theta|, or the Taylor bound with l'' <= 1/4.
    Ours.

    Args:
        theta: (R, d) or (d,) parameters.
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (m,) law of the atoms.
        radius: rho, in units of |v|_2.
        beta: scale of the margin.

    Example:
        >>> plain, low, high = sandwich([0.0, 0.0], [[1.0, 0.0]], [1.0], radius=0.3)
        >>> bool(plain[0] == low[0] == high[0] == np.log(2))
        True
    """
    theta, v, p = np.atleast_2d(np.asarray(theta, float)), np.asarray(v, float), np.asarray(p, float)
    t, size = beta * theta @ v.T, beta * np.linalg.norm(theta, axis=1)
    plain = np.logaddexp(0, -t) @ p
    low = plain + radius * size * np.sqrt(expit(-t) ** 2 @ p)
    return plain, low, np.minimum(plain + radius * size, low + (radius * size) ** 2 / 8)


@checked(beta=POSITIVE, norm=NONNEGATIVE, coverage=POSITIVE.elementwise)
def strong_convexity(beta: float, norm: float, coverage: float) -> float:
    """Strong convexity of every robust loss where |theta| <= B.

        gamma lambda = beta^2 sigma(4 beta B) sigma(-4 beta B) lambda

    Args:
        beta: scale of the margin.
        norm: B, bound on the norm of theta and of the reference's parameter.
        coverage: lambda, smallest eigenvalue of E_P[v v^T] over the ball of laws
            (`distalign.solvers.robust.regularity`).

    Source: arXiv 2502.01930, its lemmas on strong convexity; the constant is re-derived.

    Example:
        >>> round(strong_convexity(0.1, 1.0, 0.091) / 0.091, 6)
        0.002403
    """
    return beta**2 * float(expit(4 * beta * norm) * expit(-4 * beta * norm)) * coverage


@checked(n=quantity(), beta=POSITIVE, norm=NONNEGATIVE, coverage=POSITIVE, delta=INSIDE_UNIT)
def wasserstein_error_bound(
    n: float, *, beta: float, norm: float, coverage: float, delta: float = 0.05
) -> float:
    """The guarantee for WDPO on ||theta_n - theta||_2^2, with probability at least 1 - delta.

        sqrt(8 K^2 log(2 / delta) / (gamma^2 lambda^2 n)),  K = log(1 + exp(4 beta B)) the largest loss

    Args:
        n: sample size.
        beta: scale of the margin.
        norm: B, bound on the norm of theta and of the reference's parameter.
        coverage: lambda of the ball.
        delta: allowed probability of failure.

    Source: arXiv 2502.01930, Theorem 1; the formula is re-derived from its concentration and convexity
        lemmas.

    Example:
        >>> round(wasserstein_error_bound(1e4, beta=0.1, norm=1.0, coverage=0.091))
        227
    """
    largest = np.logaddexp(0, 4 * beta * norm)
    return float(largest / strong_convexity(beta, norm, coverage) * np.sqrt(8 * np.log(2 / delta) / n))


@checked(
    n=quantity(),
    beta=POSITIVE,
    norm=NONNEGATIVE,
    coverage=POSITIVE,
    multiplier=POSITIVE,
    spread=NONNEGATIVE,
    delta=INSIDE_UNIT,
)
def repaired_kl_error_bound(
    n: float,
    *,
    beta: float,
    norm: float,
    coverage: float,
    multiplier: float,
    spread: float,
    delta: float = 0.05,
) -> float:
    """Theorem 2's bound for KLDPO with exp((max l - min l) / lam) in place of exp(L / lam_low). Ours.

    At the reference all losses are equal and the multiplier is 0, so no lower bound lam_low > 0 is uniform.
    The range of the losses falls to 0 together with the multiplier, and their ratio stays bounded.

    Args:
        n: sample size.
        beta: scale of the margin.
        norm: B, bound on the norm of theta and of the reference's parameter.
        coverage: lambda of the ball.
        multiplier: largest dual multiplier met.
        spread: largest (max l - min l) / lam met.
        delta: allowed probability of failure.

    Example:
        >>> constants = dict(beta=0.1, norm=1.0, coverage=0.09, multiplier=2.0, spread=0.1)
        >>> round(repaired_kl_error_bound(1e4, **constants) / repaired_kl_error_bound(1e8, **constants))
        100
    """
    scale = multiplier * np.exp(spread) / strong_convexity(beta, norm, coverage)
    return float(scale * np.sqrt(8 * np.log(2 / delta) / n))


@checked(
    _not_flat,
    n=quantity(),
    beta=POSITIVE,
    norm=NONNEGATIVE,
    dimension=whole_number(),
    regulariser=POSITIVE,
    delta=INSIDE_UNIT,
)
def dpo_error_bound(
    n: float, *, beta: float, norm: float, dimension: int, regulariser: float, delta: float = 0.05
) -> float:
    """The guarantee for plain DPO on ||theta_n - theta*||^2 in the norm of Sigma_n + lambda I.

        4 ((4 beta^2 / (gamma^2 n)) (d + log(1 / delta)) + 2 lambda B^2),   Sigma_n = E_n[v v^T]

    Args:
        n: sample size.
        beta: scale of the margin.
        norm: B, bound on the norm of theta and of the reference's parameter.
        dimension: d.
        regulariser: lambda, for instance 1 / n.
        delta: allowed probability of failure.

    Source: arXiv 2502.01930, Proposition 1; the constant is re-derived from its proof.

    Example:
        >>> constants = dict(beta=0.1, norm=1.0, dimension=3)
        >>> bounds = [dpo_error_bound(n, regulariser=1 / n, **constants) for n in (1e4, 1e6)]
        >>> round(bounds[0] / bounds[1], 6)
        100.0
    """
    gamma = strong_convexity(beta, norm, 1.0)
    return float(
        4 * (4 * beta**2 / (gamma**2 * n) * (dimension + np.log(1 / delta)) + 2 * regulariser * norm**2)
    )


@checked(bound_at_one=POSITIVE.elementwise, largest=POSITIVE.elementwise, exponent=_EXPONENT.elementwise)
def first_informative_size(bound_at_one: float, largest: float, exponent: float) -> float:
    """The n from which bound_at_one n^exponent falls below `largest`, the most the error can be at all.

    Example:
        >>> round(first_informative_size(400.0, 4.0, -0.5))
        10000
    """
    return (largest / bound_at_one) ** (1 / exponent)
