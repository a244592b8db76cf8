r"""What one response weighs in the gradient of each density-ratio loss, and what an excess risk says of the
policy.

rho = pi/p_ref is the modelled ratio, t (or alpha) the share of p+ in the reference t p+ + (1-t) p-, and
r = (1-t) rho / (1 - t rho) the ratio p+/p- it implies. Numpy and algebra only: the second road to what
autograd finds.

Source: ours (derived from logistic density-ratio estimation; no printed formula of arXiv 2505.07558 or
    2604.04410 was seen).
"""

from __future__ import annotations

import numpy as np

from distalign.checks import InputError, inside_unit
from distalign.types import Array


def coefficients(loss: str, rho: Array, t: float) -> tuple[Array, Array]:
    """d loss / d u of a chosen and of a rejected response at u = log rho, before the mean over its class.

    Args:
        loss: one of `LOSSES`: the forms of RDRO with alpha = t, the ratio losses of DDRO with prior t, and
            "ddro squash".
        rho: any shape; below 1/t for the ratio losses of DDRO.
        t: in (0, 1).

    Raises:
        InputError: an unknown loss, t outside (0, 1), or rho beyond the domain of the loss.

    Example:
        >>> up, down = coefficients("rdro logistic", np.array([1.0, 2.0]), 0.5)
        >>> up.tolist(), down.round(12).tolist()
        ([-0.25, 0.0], [0.25, 0.333333333333])
    """
    inside_unit("t", t, "it is the share of chosen responses in the mixture")
    if loss.startswith("rdro"):
        s = rho / (1 + rho)
        table = {
            "rdro logistic": ((1 + t) * s - 1, (1 - t) * s),
            "rdro rulsif": (t * rho**2 - rho, (1 - t) * rho**2),
            "rdro rkliep": (t * rho - 1, (1 - t) * rho),
        }
    elif loss == "ddro squash":
        odds = t * rho
        return -t / (1 + odds), (1 - t) * odds / (1 + odds)
    else:
        if np.any(t * rho >= 1):
            raise InputError(
                "rho must stay below 1/t: beyond it the ratio p+/p- that DDRO models is not defined"
            )
        c, k = 1 - t * rho, (1 - 2 * t) * rho / (1 + (1 - 2 * t) * rho)
        r = (1 - t) * rho / c
        table = {
            "ddro label_mle": (-t + 0 * rho, (1 - t) * t * rho / c),
            "ddro logistic": (k - 1, t * rho / c + k),
            "ddro lsif": (-r / c, r**2 / c),
            "ddro kliep": (-1 / c, r / c),
        }
    if loss not in table:
        raise InputError(f"unknown loss {loss!r}: give one of {', '.join(LOSSES)}")
    return table[loss]


LOSSES = (
    "rdro logistic",
    "rdro rulsif",
    "rdro rkliep",
    "ddro label_mle",
    "ddro logistic",
    "ddro lsif",
    "ddro kliep",
    "ddro squash",
)


def rdro_bound(alpha: float) -> float:
    r"""C with TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for RDRO and every policy with pi <= p_ref / alpha.

    The excess risk is the Bregman divergence E_{p_ref} B_f(r_alpha || rho) of f(g) = g log g - (1+g)
    log(1+g), whose curvature is 1/(g (1+g)) >= 1/(G (1+G)) for ratios up to G = 1/alpha; Cauchy-Schwarz does
    the rest: C = sqrt((1 + alpha)/2) / alpha.

    Example:
        >>> round(rdro_bound(0.5), 3)
        1.732
    """
    inside_unit("alpha", alpha, "it is the share of chosen responses in the mixture")
    return float(np.sqrt((1 + alpha) / 2) / alpha)


def ddro_bound(sup: float) -> float:
    r"""C with TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for DDRO's unit-weight logistic loss, ratios p+/p- and r up
    to `sup`.

    The same argument with q = p- and G = sup: C = sqrt(G (1 + G) / 2), which grows without limit with the
    ratio, for TV = (1/2) E_{p_ref} |rho - rho*| = (1/2) E_{p-} (1 - t rho) |r - r*| <= (1/2) E_{p-} |r - r*|.

    Example:
        >>> round(ddro_bound(857), 1)
        606.3
    """
    if not sup > 0:
        raise InputError(f"sup must be above 0, got {sup!r}: it is the largest ratio of p+ to p-")
    return float(np.sqrt(sup * (1 + sup) / 2))


def label_bound(prior: float) -> float:
    r"""C with TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for DDRO's prior-weighted logistic loss, every policy with
    pi <= p_ref / t.

    That loss is the likelihood of the labels, so its excess is E_{p_ref} KL(Bernoulli(q) || Bernoulli(t
    rho)), at least 2 E_{p_ref} (q - t rho)^2 by Pinsker's inequality, and TV = E_{p_ref} |q - t rho| / (2 t):
    C = 1 / (2 sqrt(2) t), however large p+/p- is. The constant of `ddro_bound` diverges with its argument,
    not with the method.

    Example: for the unit-weight loss, which at t = 1/2 is twice this one, the constant is 1/2.
        >>> round(label_bound(0.5), 4)
        0.7071
    """
    inside_unit("prior", prior, "it is the share of chosen responses in the mixture")
    return float(1 / (2 * np.sqrt(2) * prior))
