"""How much one response weighs in the gradient of each density-ratio loss, and bounds from an excess risk.

rho = pi/p_ref is the modelled ratio, t (or alpha) the share of p+ in the reference t p+ + (1-t) p-, and r =
(1-t) rho / (1 - t rho) the ratio p+/p- that rho implies. The coefficients are written out by hand with numpy,
so that they check what automatic differentiation computes.

Source: ours (derived from logistic density-ratio estimation).
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import INSIDE_UNIT, NONNEGATIVE, POSITIVE, WORD, checked
from distalign.checks import InputError, inside_unit
from distalign.types import Array


@checked(
    loss=WORD,
    rho=NONNEGATIVE.elementwise,
    t=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"),
)
def coefficients(loss: str, rho: Array, t: float) -> tuple[Array, Array]:
    """Derivative of the loss by u = log rho for a chosen and for a rejected response.

    It is taken before the mean over the response's class.

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


@checked(alpha=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"))
def rdro_bound(alpha: float) -> float:
    """The C in TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for RDRO and every policy with pi <= p_ref / alpha.

        C = sqrt((1 + alpha) / (2 alpha))

    The excess risk is the Bregman divergence E_{p_ref} B_f(r_alpha || rho) of f(g) = g log g - (1+g)
    log(1+g), the integral of s E_{p_ref} (rho - r_alpha)^2 / (g (1 + g)) over the path g = rho + s (r_alpha -
    rho), s in (0, 1). By Cauchy-Schwarz (E |rho - r_alpha|)^2 is at most E_{p_ref} g (1 + g) times that mean,
    and E g (1 + g) <= 1 + 1/alpha, since g has mean 1 and is at most 1/alpha. The bound is reached next to
    p+ in the limit in which mass alpha of the reference has r_alpha = 1/alpha.

    Example:
        >>> round(rdro_bound(0.5), 3)
        1.225
    """
    inside_unit("alpha", alpha, "it is the share of chosen responses in the mixture")
    return float(np.sqrt((1 + alpha) / (2 * alpha)))


@checked(sup=POSITIVE.meaning("it is the largest ratio of p+ to p-"))
def ddro_bound(sup: float) -> float:
    """The C in TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for DDRO's unit-weight logistic loss.

        C = sqrt(G (1 + G) / 2),   G = `sup`, which p+/p- and r do not exceed

    The excess risk is E_{p-} B_f(p+/p- || r) with the f of `rdro_bound`, whose curvature 1/(g (1 + g)) is at
    least 1/(G (1 + G)). Cauchy-Schwarz gives the rest, for TV = (1/2) E_{p_ref} |rho - rho*| =
    (1/2) E_{p-} (1 - t rho) |r - r*| <= (1/2) E_{p-} |r - r*|. C grows without limit with the ratio.

    Example:
        >>> round(ddro_bound(857), 1)
        606.3
    """
    if not sup > 0:
        raise InputError(f"sup must be above 0, got {sup!r}: it is the largest ratio of p+ to p-")
    return float(np.sqrt(sup * (1 + sup) / 2))


@checked(prior=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"))
def label_bound(prior: float) -> float:
    """The C in TV(pi, p+) <= C sqrt(L(pi) - L(p+)) for DDRO's prior-weighted logistic loss, pi <= p_ref / t.

        C = 1 / (2 sqrt(2) t), however large p+/p- is

    That loss is the likelihood of the labels, so its excess is E_{p_ref} KL(Bernoulli(q) || Bernoulli(t
    rho)). By Pinsker's inequality this is at least 2 E_{p_ref} (q - t rho)^2, and TV = E_{p_ref} |q - t rho|
    / (2 t). So it is the argument behind `ddro_bound` that diverges, and not the method.

    Example: for the unit-weight loss, which at t = 1/2 is twice this one, the constant is 1/2.
        >>> round(label_bound(0.5), 4)
        0.7071
    """
    inside_unit("prior", prior, "it is the share of chosen responses in the mixture")
    return float(1 / (2 * np.sqrt(2) * prior))
