"""Closed forms for f-regularised optima, and where the inadmissible divergences drop responses.

The optimum maximises E_pi[r] - beta D_f(pi || ref) over all policies. For total variation and the Pearson
chi-squared divergence it drops responses, so the reward of those cannot be read off the policy.

Source: derived here from the stationarity conditions of arXiv 2309.16240, Theorem 1: ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from distalign.arguments import LAW, NONNEGATIVE, POSITIVE, POSITIVE_OR_INFINITE, REAL, checked
from distalign.checks import InputError
from distalign.types import Array


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"), beta=POSITIVE_OR_INFINITE.elementwise)
def reverse_kl_optimum(reward: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    """(..., K) ref exp(r / beta), normalised: the optimum for the reverse KL, which is DPO's.

    Source: standard (Gibbs).

    Example:
        >>> reverse_kl_optimum([np.log(3), 0.0], [0.5, 0.5], 1.0).round(12).tolist()
        [0.75, 0.25]
    """
    return np.exp(log_softmax(np.log(np.asarray(ref, float)) + np.asarray(reward, float) / beta, -1))


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"), beta=POSITIVE_OR_INFINITE.elementwise)
def total_variation_optimum(reward: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    """The optimum (..., K) for total variation.

    Responses that are worse than the best by more than beta give it all their mass: moving a unit of mass to
    the best response gains max r - r and costs beta, whatever else moves. Ours.

    Example:
        >>> total_variation_optimum([0.0, 0.8, 1.0], [0.2, 0.3, 0.5], 0.5).tolist()
        [0.0, 0.3, 0.7]
    """
    r, q = np.broadcast_arrays(np.asarray(reward, float), np.asarray(ref, float))
    remaining = np.where(r.max(-1, keepdims=True) - r > beta, 0, q)
    best = np.arange(r.shape[-1]) == r.argmax(-1)[..., None]
    return remaining + best * (1 - remaining.sum(-1, keepdims=True))


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"))
def chi2_threshold(reward: ArrayLike, ref: ArrayLike) -> Array:
    """(E_ref r - min r) / 2: the beta (...) above which the chi-squared optimum keeps every response.

    There the optimum has the density ratio  u = 1 + (r - E_ref r) / (2 beta).  Ours.

    Example:
        >>> float(chi2_threshold([0.0, 1.0], [0.5, 0.5]))
        0.25
    """
    r, q = np.asarray(reward, float), np.asarray(ref, float)
    return ((q * r).sum(-1) - r.min(-1)) / 2


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"), beta=POSITIVE)
def chi2_interior_optimum(reward: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    """The Pearson chi-squared optimum (..., K) where it keeps every response.

        ref (1 + (r - E_ref r) / (2 beta))

    Raises:
        InputError: beta is not above `chi2_threshold`, so responses are dropped and this is no law.

    Example:
        >>> chi2_interior_optimum([0.0, 1.0], [0.5, 0.5], 0.5).tolist()
        [0.25, 0.75]
    """
    least = float(np.max(chi2_threshold(reward, ref)))
    if not beta > least:
        raise InputError(
            f"beta must be above (E_ref r - min r) / 2 = {least:.6g} for the chi-squared optimum to keep "
            f"every response, got {beta!r}: raise beta, use an admissible divergence such as chi2_plus_kl, "
            "or let chi2_optimum drop the worst responses"
        )
    r, q = np.broadcast_arrays(np.asarray(reward, float), np.asarray(ref, float))
    return q * (1 + (r - (q * r).sum(-1, keepdims=True)) / (2 * beta))


@checked(reward=REAL.of("... K"), ref=LAW.of("... K"), beta=POSITIVE.elementwise)
def chi2_optimum(reward: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    """The Pearson chi-squared optimum (..., K) at any beta:  ref max(0, 1 + (r - nu) / (2 beta)), of sum 1.

    The best k responses are kept, for the largest k whose worst member still gets mass when those k share all
    of it. Ours (a projection on the simplex, by sorting).

    Example:
        >>> [chi2_optimum([0.0, 1.0], [0.5, 0.5], beta).tolist() for beta in (0.2, 0.5)]
        [[0.0, 1.0], [0.25, 0.75]]
    """
    r, q = np.broadcast_arrays(np.asarray(reward, float), np.asarray(ref, float))
    order = np.argsort(-r, -1)
    r_down, q_down = np.take_along_axis(r, order, -1), np.take_along_axis(q, order, -1)
    mass = q_down.cumsum(-1)
    nu = ((q_down * r_down).cumsum(-1) + 2 * beta * (mass - 1)) / mass
    size = (2 * beta + r_down - nu > 0).sum(-1, keepdims=True)
    return q * np.maximum(0, 1 + (r - np.take_along_axis(nu, size - 1, -1)) / (2 * beta))


@checked(mean_divergence=NONNEGATIVE.each, curvature=POSITIVE.elementwise)
def calibration_bound(mean_divergence: ArrayLike, curvature: float) -> Array:
    """Bound on E_x|pi_1 - pi_2|_1, and so on a change of calibration.

        2 sqrt(E_x D_f(pi_1 || pi_2) / (2 f''(1)))

    It is Pinsker's inequality in the form TV <= sqrt(D_f / (2 f''(1))), then Jensen's. It holds for every
    divergence of `distalign.divergences` that has a curvature, and is sharp for small moves. With CE(pi) =
    E_x|pi - p*|_1 the triangle inequality gives |CE(pi_1) - CE(pi_2)| <= this bound.

    Source: ours. arXiv 2309.16240, Theorem 2, bounds a difference of calibration errors by a divergence; the
        constants a secondary source quotes from it, 2 sqrt(2 KL) and 4 sqrt(2 JSD), are twice these.

    Example:
        >>> float(calibration_bound(0.02, 1.0)), float(calibration_bound(0.01, 0.5))
        (0.2, 0.2)
    """
    return 2 * np.sqrt(np.asarray(mean_divergence, float) / (2 * curvature))
