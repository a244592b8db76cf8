"""First-order effect of a broken assumption, and the constants of policies with few parameters.

Where the reference is not the mixture, or the prior differs from the one told, every response has another
best ratio: pi(y) = p+(y) + v(y), in general not of sum 1. The policy that sums to 1 gives the excess back in
proportion to 1/h, with h the curvature of the loss in pi(y):

    p+ + v - w sum(v),   w = (1/h) / sum(1/h).                                          (1)

At p+ and with r = p+/p_ref, 1/h is p+ (1 + r) for RDRO and p+ (1 - t r) for DDRO, up to a factor
(`distalign.theory.density_ratio.asymptotics`).

Source: ours.
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import INSIDE_UNIT, LAW, REAL, OneOf, checked
from distalign.checks import inside_unit, one_of
from distalign.types import Array


@checked(
    estimator=OneOf(("rdro", "ddro")),
    chosen=LAW.of("... K"),
    rejected=LAW.of("... K"),
    prior=INSIDE_UNIT.elementwise,
    moved=REAL.of("... K"),
)
def first_order_limit(
    estimator: str, chosen: Array, rejected: Array, prior: Array | float, moved: Array
) -> Array:
    """Change (..., K) of the minimiser, Eq. (1), where the best unnormalised policy is p+ + moved.

    A reference (1 + e) p_ref in place of p_ref = t p+ + (1 - t) p- moves it by p+ e at every response. A
    prior told as t' where the prompt's is t, with class means over all prompts, moves it by p+ (t/t' - 1).

    Args:
        estimator: `rdro` or `ddro`.
        chosen, rejected: (..., K) laws p+ and p-.
        prior: t, or (..., 1) of them, the true mixture's.
        moved: (..., K) v.

    Raises:
        InputError: an unknown estimator.

    Example: a move in proportion to w is given back whole; one that sums to 0 stays.
        >>> p, q = np.array([0.3, 0.7]), np.array([0.5, 0.5])
        >>> first_order_limit("rdro", p, q, 0.5, np.array([0.01, -0.01])).tolist()
        [0.01, -0.01]
        >>> w = p * (1 + p / (0.5 * p + 0.5 * q))
        >>> bool(np.allclose(first_order_limit("rdro", p, q, 0.5, 0.01 * w), 0))
        True
    """
    one_of("estimator", estimator, ["rdro", "ddro"])
    ratio = chosen / (prior * chosen + (1 - prior) * rejected)
    share = chosen * (1 + ratio if estimator == "rdro" else 1 - prior * ratio)
    return moved - share / share.sum(-1, keepdims=True) * moved.sum(-1, keepdims=True)


@checked(
    estimator=OneOf(("sft", "rdro", "ddro")),
    chosen=LAW.of("K"),
    rejected=LAW.of("K"),
    prior=INSIDE_UNIT,
    share=INSIDE_UNIT.meaning("it is the share of chosen responses in the data"),
    scores=REAL.of("K d"),
)
def parametric_constants(
    estimator: str, chosen: Array, rejected: Array, prior: float, share: float, scores: Array
) -> tuple[float, float]:
    """Limits of sqrt(n) E TV and n E KL(p+ || pi_n) for a policy with scores G = d log pi / d theta at p+.

    theta has the covariance A^{-1} B A^{-1} of
    `distalign.theory.density_ratio.asymptotics.unpaired_covariance`, so sqrt(n) (pi_n(y) - p+(y)) has the
    standard deviation p+(y) |G(y)|_{A^{-1} B A^{-1}}. Only these K numbers are computed, and no K x K matrix,
    so K may be large. Directions that do not change the policy are left out.

    Args:
        estimator: `sft`, `rdro`, or `ddro` (prior-weighted logistic).
        chosen, rejected: (K,) laws p+ and p-, positive.
        prior: t, share of p+ in the reference t p+ + (1 - t) p-.
        share: chosen responses among all n, in (0, 1).
        scores: (K, d), or features of a log-linear policy: they are centred under p+.

    Raises:
        InputError: an unknown estimator or a share outside (0, 1).

    Example: SFT of d parameters has n KL = d / (2 share).
        >>> p = np.array([0.2, 0.3, 0.5])
        >>> round(parametric_constants("sft", p, p, 0.5, 0.5, np.eye(3))[1], 9)  # two free directions
        2.0
    """
    one_of("estimator", estimator, ["sft", "rdro", "ddro"])
    inside_unit("share", share, "it is the share of chosen responses in the data")
    r = chosen / (prior * chosen + (1 - prior) * rejected)
    up, down, curvature = {
        "sft": (-np.ones_like(r), np.zeros_like(r), chosen),
        "rdro": ((prior * r - 1) / (1 + r), (1 - prior) * r / (1 + r), chosen / (1 + r)),
        "ddro": (
            np.full_like(r, -prior),
            (1 - prior) * prior * r / (1 - prior * r),
            prior * chosen / (1 - prior * r),
        ),
    }[estimator]
    g = scores - chosen @ scores
    noise = _covariance(up[:, None] * g, chosen) / share + _covariance(down[:, None] * g, rejected) / (
        1 - share
    )
    inverse = np.linalg.pinv((g.T * curvature) @ g, rcond=1e-10, hermitian=True)
    relative = ((g @ (inverse @ noise @ inverse)) * g).sum(-1)  # variance of sqrt(n) (pi_n / p+ - 1)
    deviation = np.sqrt(2 / np.pi * np.clip(relative, 0, None))
    return float(0.5 * chosen @ deviation), float(0.5 * chosen @ relative)


def _covariance(values: Array, law: Array) -> Array:
    mean = law @ values
    return (values.T * law) @ values - np.outer(mean, mean)
