r"""The asymptotic law of density-ratio estimators, hence the constant in front of n^{-1/2}.

An estimator minimises, with class frequencies c+ and c-,

    \sum_y c+ phi+(u) + c- phi-(u),   u = log pi/p_ref,                                 (1)

and is consistent: on the exact laws (1) is stationary at pi = p+. With r = p+/p_ref and derivatives taken at
u = log r, the gradient in pi fluctuates by a for a chosen and by b for a rejected response, against the
curvature h:

    a = phi+' / p+,   b = phi-' / p+,   h = [p+ (phi+'' - phi+') + p- (phi-'' - phi-')] / (p+)^2.   (2)

Source: ours. That the estimators are consistent is proved in arXiv 2604.04410 and 2505.07558.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from distalign.arguments import (
    COVARIANCE,
    FEATURES,
    INSIDE_UNIT,
    LAW,
    NONNEGATIVE,
    POSITIVE_LAW,
    OneOf,
    checked,
)
from distalign.checks import InputError, inside_unit, one_of
from distalign.types import Array

Estimator = Literal["sft", "rdro", "ddro"]
PARAMETRIC_EXPONENT = -0.5
_JOINT = replace(
    NONNEGATIVE,
    words="of at least 0 that sum to 1",
    remedy="divide counts by their total",
    also=lambda table: "" if abs(table.sum() - 1) <= 1e-6 else f"a sum of {table.sum():.9g}",
)


@checked(
    estimator=OneOf(("sft", "rdro", "ddro")),
    joint=_JOINT.of("K K"),
    alpha=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"),
)
def asymptotic_covariance(estimator: Estimator, joint: Array, alpha: float = 0.5) -> Array:
    """Limit covariance (K, K) of sqrt(n) (pi_n - p+) for n pairs of a chosen and a rejected response.

    With a, b and h of Eq. (2) it is

        Pi Cov(a_chosen + b_rejected) Pi,   Pi = diag(1/h) - (1/h)(1/h)^T / sum(1/h),

    where Pi keeps the mass at 1. The observations are independent of each other. The two responses of one
    observation may depend on each other (winner and loser of one comparison); where they do not, `joint` is
    the outer product of their laws.

    Args:
        estimator: `sft`, `rdro`, or `ddro` (prior-weighted logistic, its domain enforced).
        joint: (K, K) law of (chosen, rejected), positive margins.
        alpha: share t of chosen responses in p_ref = t p+ + (1 - t) p-.

    Raises:
        InputError: an unknown estimator or a joint law that is not one.

    Example:
        >>> v = asymptotic_covariance("sft", np.outer([0.3, 0.7], [0.5, 0.5]))
        >>> v.round(12).tolist()  # multinomial: p (1 - p) and - p q
        [[0.21, -0.21], [-0.21, 0.21]]
    """
    if joint.ndim != 2 or abs(joint.sum() - 1) > 1e-9 or joint.min() < 0:
        raise InputError("joint must be a (K, K) table of non-negative masses of sum 1")
    chosen, rejected = joint.sum(1), joint.sum(0)
    up, down, curvature = _at_the_truth(estimator, chosen, rejected, alpha)
    a, b = up / chosen, down / chosen
    projection = _projection(chosen**2 / curvature)
    cross = a[:, None] * (joint - np.outer(chosen, rejected)) * b
    noise = _multinomial(a, chosen) + _multinomial(b, rejected) + cross + cross.T
    return projection @ noise @ projection


@checked(
    estimator=OneOf(("sft", "rdro", "ddro")),
    chosen=POSITIVE_LAW.of("K"),
    rejected=LAW.of("K"),
    alpha=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"),
    share=INSIDE_UNIT.meaning("it is the share of chosen responses in the data"),
    features=FEATURES.of("K d").or_none,
)
def unpaired_covariance(
    estimator: Estimator,
    chosen: Array,
    rejected: Array,
    alpha: float,
    share: float,
    features: Array | None = None,
) -> Array:
    r"""Limit covariance (K, K) of sqrt(n) (pi_n - p+) for n labelled responses, a given share of them chosen.

    The n share chosen and n (1 - share) rejected responses are independent draws of their laws; `share` is
    alpha for labels of random responses, and may differ from it where counts were fixed. Over all policies
    the covariance is, with Pi, a and b as in `asymptotic_covariance`,

        Pi [Cov(a_chosen) / share + Cov(b_rejected) / (1 - share)] Pi.

    With features phi the policies are p_ref exp(phi.theta) / Z, or any family whose gradient of log pi at p+
    is G = phi - E_{p+} phi. Then theta has the sandwich covariance A^{-1} B A^{-1} and pi the covariance
    diag(p+) G A^{-1} B A^{-1} G^T diag(p+), where A = \sum_y h_y (p+_y)^2 G G^T and B is the covariance of
    \sum_y (phi+' c+ + phi-' c-) G.

    Args:
        estimator: `sft`, `rdro` or `ddro`, as in `asymptotic_covariance`.
        chosen, rejected: (K,) laws p+ and p-, positive.
        alpha: share t of p+ in the reference t p+ + (1 - t) p-, told to the estimator.
        share: chosen responses among all n, in (0, 1).
        features: (K, d) features of full rank after centring, or None for all policies.

    Raises:
        InputError: an unknown estimator, or alpha or share outside (0, 1).

    Example:
        >>> p, q = np.array([0.3, 0.7]), np.array([0.5, 0.5])
        >>> unpaired_covariance("sft", p, q, 0.5, 0.5).round(12).tolist()  # of n/2 chosen responses
        [[0.42, -0.42], [-0.42, 0.42]]
        >>> feature = np.array([[1.0], [0.0]])  # of two responses: these are all policies again
        >>> of_one_feature = unpaired_covariance("rdro", p, q, 0.5, 0.5, feature)
        >>> bool(np.allclose(of_one_feature, unpaired_covariance("rdro", p, q, 0.5, 0.5)))
        True
    """
    inside_unit("share", share, "it is the share of chosen responses in the data")
    up, down, curvature = _at_the_truth(estimator, chosen, rejected, alpha)
    noise = _multinomial(up, chosen) / share + _multinomial(down, rejected) / (1 - share)
    if features is None:
        change = _projection(chosen**2 / curvature) / chosen
    else:
        g = features - chosen @ features
        change = chosen[:, None] * (g @ np.linalg.solve((g.T * curvature) @ g, g.T))
    return change @ noise @ change.T


@checked(covariance=COVARIANCE.of("K K"), target=POSITIVE_LAW.of("K"))
def divergence_constant(covariance: Array, target: Array) -> float:
    """Limit of n E KL(p+ || pi_n):  (1/2) sum_y V_yy / p+_y.

    It is also the limit of n E KL(pi_n || p+) and of 4 n E H^2(pi_n, p+), where H^2 = (1/2) sum (sqrt(p) -
    sqrt(q))^2 is the squared Hellinger distance.

    Example: n chosen responses, K = 2 and SFT: (K - 1) / 2.
        >>> divergence_constant(np.array([[0.21, -0.21], [-0.21, 0.21]]), np.array([0.3, 0.7]))
        0.5
    """
    return float(0.5 * (np.diag(covariance) / target).sum())


@checked(covariance=COVARIANCE.of("K K"))
def total_variation_constant(covariance: Array) -> float:
    """Limit of sqrt(n) E TV(pi_n, p+):  (1/2) sum_y sqrt(2 V_yy / pi), pi being 3.14...

    V is the covariance of the Gaussian fluctuations in the limit.

    Example:
        >>> round(total_variation_constant(np.array([[0.21, -0.21], [-0.21, 0.21]])), 4)
        0.3656
    """
    return float(0.5 * np.sqrt(2 / np.pi * np.clip(np.diag(covariance), 0, None)).sum())


@checked(covariance=COVARIANCE.of("K K"), target=POSITIVE_LAW.of("K"))
def divergence_deviation(covariance: Array, target: Array) -> float:
    """Limit of n times the standard deviation of KL(p+ || pi_n):  sqrt(tr (D V D V) / 2),  D = diag(1/p+).

    n KL tends to the quadratic form Z^T D Z / 2 of the Gaussian Z with covariance V.

    Example: n chosen responses, K = 2 and SFT: half of a chi-squared variable with one degree of freedom.
        >>> round(divergence_deviation(np.array([[0.21, -0.21], [-0.21, 0.21]]), np.array([0.3, 0.7])), 4)
        0.7071
    """
    form = covariance / target
    return float(np.sqrt((form * form.T).sum() / 2))


@checked(covariance=COVARIANCE.of("K K"))
def total_variation_deviation(covariance: Array) -> float:
    """Limit of sqrt(n) times the standard deviation of TV(pi_n, p+).

    It is half of that of sum_y |Z_y| for the Gaussian Z with covariance V. With standard deviations s_y and
    correlations c,  Cov(|Z_x|, |Z_y|) = (2/pi) s_x s_y [sqrt(1 - c^2) + c arcsin c - 1],  pi being 3.14...

    Example: two responses share one Gaussian variable Z, so that it is the standard deviation of |Z|.
        >>> round(total_variation_deviation(np.array([[0.21, -0.21], [-0.21, 0.21]])), 4)
        0.2762
    """
    deviation = np.sqrt(np.clip(np.diag(covariance), 0, None))
    scale = np.outer(deviation, deviation)
    c = np.clip(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), -1, 1)
    absolute = 2 / np.pi * scale * (np.sqrt(1 - c**2) + c * np.arcsin(c) - 1)
    return float(0.5 * np.sqrt(absolute.sum()))


def _at_the_truth(
    estimator: Estimator, chosen: Array, rejected: Array, alpha: float
) -> tuple[Array, Array, Array]:
    """phi+', phi-' and the curvature h (p+)^2 at pi = p+."""
    one_of("estimator", estimator, ["sft", "rdro", "ddro"])
    inside_unit("alpha", alpha, "it is the share of chosen responses in the mixture")
    up, up2, down, down2 = _derivatives(estimator, chosen / (alpha * chosen + (1 - alpha) * rejected), alpha)
    return up, down, chosen * (up2 - up) + rejected * (down2 - down)


def _projection(inverse: Array) -> Array:
    return np.diag(inverse) - np.outer(inverse, inverse) / inverse.sum()


def _derivatives(estimator: Estimator, r: Array, t: float) -> tuple[Array, Array, Array, Array]:
    """First and second derivatives in u of phi+ and phi-, class weights included, at u = log r."""
    zero = np.zeros_like(r)
    if estimator == "sft":
        return zero - 1, zero, zero, zero
    if estimator == "rdro":
        s = r / (1 + r)
        return (1 + t) * s - 1, (1 + t) * s * (1 - s), (1 - t) * s, (1 - t) * s * (1 - s)
    odds = t * r / (1 - t * r)
    return zero - t, zero, (1 - t) * odds, (1 - t) * odds / (1 - t * r)


def _multinomial(coefficient: Array, p: Array) -> Array:
    """Covariance of coefficient_y 1{Y = y} for Y ~ p."""
    return np.diag(coefficient**2 * p) - np.outer(coefficient * p, coefficient * p)
