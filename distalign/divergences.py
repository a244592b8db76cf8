"""The f-divergences a policy may be regularised with, and the link each gives between policy and reward.

    D_f(p || q) = sum_y q_y f(p_y / q_y),   f convex, f(1) = f'(1) = 0                  (1)

Adding c (u - 1) to f changes neither D_f nor any loss, so every f here is the representative with f'(1) = 0,
which is also never negative. The optimum of  E_p[r] - beta D_f(p || q)  satisfies

    r = beta f'(p/q) + const   wherever p > 0.                                          (2)

Where f'(0+) = -infinity every response keeps p > 0, and by (2) rewards can be read off the policy; otherwise
the divergence is refused as a loss. Everything is a function of log u, because u itself leaves the range of
floats as soon as sequences are long.

| name | f(u) | f'(u) | f''(1) | sup f' |
|---|---|---|---|---|
| reverse_kl | u log u - u + 1 | log u | 1 | inf |
| forward_kl | u - 1 - log u | 1 - 1/u | 1 | 1 |
| alpha:a, 0 < a < 1 | (u^(1-a) - (1-a) u - a) / (a (a-1)) | (1 - u^-a) / a | 1 | 1/a |
| jensen_shannon (twice the usual one) | u log u - (u+1) log((u+1)/2) | log(2u / (1+u)) | 1/2 | log 2 |
| squared_hellinger | (sqrt u - 1)^2 | 1 - u^-1/2 | 1/2 | 1 |
| jeffreys | (u-1) log u | log u + 1 - 1/u | 2 | inf |
| chi2_plus_kl | (u-1)^2/2 + u log u - u + 1 | u - 1 + log u | 2 | inf |
| total_variation (refused) | abs(u-1) / 2 | sign(u-1) / 2 | - | 1/2 |
| chi2 (refused) | (u-1)^2 | 2 (u-1) | 2 | inf |

Source: Wang et al. 2023, arXiv 2309.16240, for the first four and for the condition (the rows agree with its
authors' code); Huang et al., arXiv 2407.13399, for chi2_plus_kl; the rest is standard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, kl_div, wrightomega
from torch import Tensor

from distalign.checks import InputError, inside_unit, one_of

_STEEP = 20.0  # nats: links that grow like e^x are continued linearly from e^20 on


@dataclass(frozen=True)
class Divergence:
    """One f-divergence; u is a density ratio, above 0.

    Attributes:
        name: as `divergence` parses it.
        f: u >= 0 -> f(u), numpy.
        link: log u -> f'(u), numpy or torch.
        weight: log u -> u f''(u), the derivative of the link by log u, numpy or torch.
        inverse_link: s -> log u with f'(u) = s, numpy; -inf or inf where s is below or above the range of f'.
        curvature: f''(1). Divergences act alike near the reference at equal beta f''(1).
        link_at_zero: f'(0+); the divergence is admissible where this is -inf.
        link_supremum: sup f', the largest reward above the constant, in units of beta.
        refusal: why the divergence cannot be a loss; empty if it can.
        exact: range of log u on which `continued_link` is the link.
    """

    name: str
    f: Callable[[Any], Any]
    link: Callable[[Any], Any]
    weight: Callable[[Any], Any]
    inverse_link: Callable[[Any], Any]
    curvature: float
    link_at_zero: float
    link_supremum: float
    refusal: str = ""
    exact: tuple[float, float] = (-math.inf, math.inf)

    @property
    def admissible(self) -> bool:
        """Whether the optimal policy keeps every response and determines the reward."""
        return not self.refusal

    def continued_link(self, log_u: Tensor) -> Tensor:
        """The link, continued linearly outside `exact` with the slope it has there (C1).

        A link that grows like e^20 and more overflows float32 and, as a difference of two, turns into NaN; a
        clamp would take the gradient from exactly the worst pairs. The continuation keeps order and gradient.

        Example:
            >>> g = divergence("forward_kl").continued_link(torch.tensor([0.0, -1.0, -1000.0]))
            >>> [f"{x:.4g}" for x in g.tolist()]
            ['0', '-1.718', '-4.759e+11']
        """
        low, high = self.exact
        out = self.link(log_u.clamp(low, high))
        # Each excess has a gradient only where it is not zero: the steep slope must not pass, and cancel,
        # where it is.
        if math.isfinite(low):
            out = out + float(self.weight(low)) * (log_u - low).where(log_u < low, 0)
        if math.isfinite(high):
            out = out + float(self.weight(high)) * (log_u - high).where(log_u > high, 0)
        return out


def _library(x: Any) -> Any:
    return torch if isinstance(x, Tensor) else np


def _expm1(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return np.expm1(x)
    near = x.abs() < 0.5  # away from 0 torch's derivative, expm1(x) + 1, rounds to 0 where e^x is small
    return torch.where(near, torch.expm1(torch.where(near, x, 0)), x.exp() - 1)


def _exp(x: Any) -> Any:
    return _library(x).exp(x)


def _log_sigmoid(x: Any) -> Any:
    return torch.nn.functional.logsigmoid(x) if isinstance(x, Tensor) else -np.logaddexp(0, -x)


def _sigmoid(x: Any) -> Any:
    return torch.sigmoid(x) if isinstance(x, Tensor) else expit(x)


def _one(x: Any) -> Any:
    return _library(x).ones_like(x)


def _no_inverse(s: Any) -> Any:
    raise InputError("total_variation has no inverse link: its derivative takes two values")


def _power(name: str, f: Callable[[Any], Any], a: float, c: float) -> Divergence:
    """The divergence `name` of the link f'(u) = c (1 - u^-a)."""

    def inverse(s: Any) -> Any:
        with np.errstate(divide="ignore"):
            return -np.log1p(-np.minimum(np.asarray(s) / c, 1)) / a

    return Divergence(
        name,
        f,
        lambda x: -c * _expm1(-a * x),
        lambda x: a * c * _exp(-a * x),
        inverse,
        a * c,
        -math.inf,
        c,
        exact=(-_STEEP / a, math.inf),
    )


def _jensen_shannon_inverse(s: Any) -> Any:
    gap = np.maximum(math.log(2) - np.asarray(s), 0)
    with np.errstate(divide="ignore"):
        return -(gap + np.log1p(-np.exp(-gap)))


def _log_omega(z: Any) -> Any:
    """Logarithm of the Wright omega function, with all digits for large z.

    omega is the w > 0 with w + log w = z (Lambert's W at e^z).
    """
    omega = wrightomega(z)
    return np.where(z < 1, np.minimum(z, 1) - np.minimum(omega, 1), np.log(np.maximum(omega, 0.5)))


def _log_relu(u: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(u, 0))


REVERSE_KL = Divergence(
    "reverse_kl",
    lambda u: kl_div(u, 1),
    lambda x: x,
    _one,
    lambda s: np.asarray(s) + 0.0,
    1,
    -math.inf,
    math.inf,
)
FORWARD_KL = _power("forward_kl", lambda u: kl_div(1, u), 1, 1)
JENSEN_SHANNON = Divergence(
    "jensen_shannon",
    lambda u: kl_div(u, (1 + np.asarray(u)) / 2) + kl_div(1, (1 + np.asarray(u)) / 2),
    lambda x: math.log(2) + _log_sigmoid(x),
    lambda x: _sigmoid(-x),
    _jensen_shannon_inverse,
    1 / 2,
    -math.inf,
    math.log(2),
)
SQUARED_HELLINGER = _power("squared_hellinger", lambda u: (np.sqrt(u) - 1) ** 2, 1 / 2, 1)
JEFFREYS = Divergence(
    "jeffreys",
    lambda u: kl_div(u, 1) + kl_div(1, u),
    lambda x: x - _expm1(-x),
    lambda x: 1 + _exp(-x),
    lambda s: -_log_omega(1.0 - np.asarray(s)),
    2,
    -math.inf,
    math.inf,
    exact=(-_STEEP, math.inf),
)
CHI2_PLUS_KL = Divergence(
    "chi2_plus_kl",
    lambda u: (np.asarray(u) - 1) ** 2 / 2 + kl_div(u, 1),
    lambda x: x + _expm1(x),
    lambda x: 1 + _exp(x),
    lambda s: _log_omega(1.0 + np.asarray(s)),
    2,
    -math.inf,
    math.inf,
    exact=(-math.inf, _STEEP),
)
TOTAL_VARIATION = Divergence(
    "total_variation",
    lambda u: abs(np.asarray(u) - 1) / 2,
    lambda x: _library(x).sign(x) / 2,
    lambda x: 0 * _one(x),
    _no_inverse,
    math.nan,
    -1 / 2,
    1 / 2,
    refusal="its derivative takes two values, so the policy does not tell the reward",
)
CHI2 = Divergence(
    "chi2",
    lambda u: (np.asarray(u) - 1) ** 2,
    lambda x: 2 * _expm1(x),
    lambda x: 2 * _exp(x),
    lambda s: _log_relu(1 + np.asarray(s) / 2),
    2,
    -2,
    math.inf,
    exact=(-math.inf, _STEEP),
    refusal="its derivative is finite at 0, so the optimal policy drops responses and the reward there is "
    "lost",
)

_NAMED = {
    d.name: d
    for d in (
        REVERSE_KL,
        FORWARD_KL,
        JENSEN_SHANNON,
        SQUARED_HELLINGER,
        JEFFREYS,
        CHI2_PLUS_KL,
        TOTAL_VARIATION,
        CHI2,
    )
}
NAMES = ("alpha:<a>", *_NAMED)


def alpha(a: float) -> Divergence:
    """The alpha-divergence in the convention of the f-DPO paper: f'(u) = (1 - u^-a) / a.

    a = 0 is the reverse KL (DPO) and a = 1 the forward KL; both limits are returned as themselves.

    Raises:
        InputError: a is outside [0, 1].

    Example:
        >>> round(float(alpha(0.5).link(math.log(4.0))), 6)
        1.0
        >>> alpha(0).name, alpha(1).name
        ('reverse_kl', 'forward_kl')
    """
    if a in (0, 1):
        return FORWARD_KL if a else REVERSE_KL
    inside_unit(
        "alpha", a, "0 is the reverse KL and 1 the forward KL (for TRL's coefficient use alpha_from_trl)"
    )

    def f(u: Any) -> Any:
        return (np.asarray(u) - 1 - (np.asarray(u) ** (1 - a) - 1) / (1 - a)) / a

    return _power(f"alpha:{a!r}", f, a, 1 / a)


def alpha_from_trl(coefficient: float) -> Divergence:
    """The alpha-divergence that TRL (0.29 and later) calls `f_alpha_divergence_coef`:  a = 1 - c.

    c is TRL's coefficient. TRL up to 0.28 used the paper's a under the same name: pass that to `alpha`
    instead.

    Raises:
        InputError: the coefficient is outside [0, 1].

    Example:
        >>> alpha_from_trl(0.75).name, alpha_from_trl(1.0).name
        ('alpha:0.25', 'reverse_kl')
    """
    if not 0 <= coefficient <= 1:
        raise InputError(
            f"coefficient must lie in [0, 1], got {coefficient!r}: 1 is the reverse KL, 0 the forward KL"
        )
    return alpha(1 - coefficient)


def divergence(name: str | Divergence) -> Divergence:
    """The divergence of this name, `alpha:0.3` for the alpha family; a `Divergence` is returned as it is.

    Raises:
        InputError: no such name, or an alpha that is no number in [0, 1].

    Example:
        >>> divergence("alpha:0.3").link_supremum
        3.3333333333333335
    """
    if isinstance(name, Divergence):
        return name
    if isinstance(name, str) and name.startswith("alpha:"):
        try:
            return alpha(float(name.removeprefix("alpha:")))
        except ValueError as error:
            raise InputError(
                f"divergence {name!r} must read alpha:<number in [0, 1]>, for instance alpha:0.5"
            ) from error
    one_of("divergence", name, NAMES)
    return _NAMED[name]
