r"""What RLHF with a clipped reward loses on two families, one for a mismatch of data and reference.

b is the Bradley-Terry temperature, s(t) = tanh(t/2)/2, and the clip that of
`distalign.solvers.choice.clipped_rlhf`: rewards below the floor are tied, and so are those above floor +
window. Where nearly all comparisons are with one response of reward r, the floor is r + logit(quantile).

Mismatch. Comparisons are with c, the reference has mass e^{-B} there, so log(mu/ref) <= B. A share w of the
users wants a only, the rest gives a little, t/b, to c, and nobody likes d, which the reference mostly draws.
A response that loses to c by d = 1/2 - quantile lies at the floor; a may be better than c by the factor

    k(b) = max_t  (b/t) (s(t) - d) / (s(b) + d)   and still do so.                                     (1)

RLHF sees c only, on which a budget of tau nats buys a share of about tau/B, and leaves a and d in the
proportion of the reference. If that gives a the share e^{-tau} the best policy of the ball is a alone.

No mismatch. Users agree: a has utility 1, c just enough for the upper end of the window, d none. Comparisons
and reference are mostly d. Clipped RLHF takes c for as good as a, and c is the more frequent.

Source: that clipped RLHF loses a factor of order b B, up to logarithms, and of order b without mismatch, is
the subject of Oko, Ulichney, Haghtalab and Bao, arXiv 2609.12651, whose abstract was seen; the clip is our
reading of theirs, and families and formulas are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logit

from distalign.arguments import INSIDE_UNIT, POSITIVE, checked
from distalign.checks import InputError, inside_unit, positive

_TEMPERATURE = POSITIVE.meaning("it is the slope of the Bradley-Terry choice")
_QUANTILE = replace(
    INSIDE_UNIT,
    words="from {low:g} to {high:g}",
    remedy="0.45 puts the window just below the median of the comparisons, and from 1/2 on nothing hides",
    low=1e-9,
    high=0.5 - 1e-9,
)
_LOG_RATIO = replace(POSITIVE, remedy="it bounds log(mu / ref), in nats", low=1e-9, high=1e6)


def _hides(bt_temperature: float, quantile: float) -> str:
    """A relation: k(b) of (1) is above 1, so that the clip hides a better response."""
    ratio = hidden_ratio(bt_temperature, quantile)
    return (
        ""
        if ratio > 1
        else f"the clip hides nothing, k = {ratio:.3g} is no more than 1: raise bt_temperature"
    )


@checked(bt_temperature=_TEMPERATURE, quantile=_QUANTILE)
def hidden_share(bt_temperature: float, quantile: float = 0.45) -> tuple[float, float]:
    """Users of the mismatch family: t of (1), and the share w of those who want a only.

        w = (s(t) - d)/(s(b) + s(t)),   t s'(t) = s(t) - d

    Args:
        bt_temperature: b, above t, which is 1.16 at the usual quantile.
        quantile: of the clip, below 1/2.

    Raises:
        InputError: a quantile of 1/2 or more, or a temperature below t.

    Source: ours.

    Example:
        >>> [round(x, 4) for x in hidden_share(10.0)]
        [1.155, 0.2767]
    """
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    inside_unit("quantile", quantile, "0.45 puts the window just below the median of the comparisons")
    if not quantile < 0.5:
        raise InputError(f"quantile must be below 1/2, got {quantile}: else nothing loses at the floor")
    d = 0.5 - quantile

    def slope(t: float) -> float:
        return t / (4 * np.cosh(t / 2) ** 2) - np.tanh(t / 2) / 2 + d

    root: Any = brentq(slope, 0.0, 50.0, xtol=1e-14)
    t = float(root)
    if t > bt_temperature:
        raise InputError(f"bt_temperature must be at least {t:.3g} for this quantile, got {bt_temperature}")
    near, far = np.tanh(t / 2) / 2, np.tanh(bt_temperature / 2) / 2
    return t, float((near - d) / (far + near))


@checked(bt_temperature=_TEMPERATURE, quantile=_QUANTILE)
def hidden_ratio(bt_temperature: float, quantile: float = 0.45) -> float:
    """k(b) of (1): how much better than c a response may be that the clip does not see.

    Args:
        bt_temperature: b, above t of `hidden_share`.
        quantile: of the clip, below 1/2.

    Raises:
        InputError: as `hidden_share`.

    Source: ours.

    Example: it grows like 0.33 b.
        >>> [round(hidden_ratio(b) / b, 4) for b in (10.0, 100.0)]
        [0.3313, 0.3312]
    """
    t, share = hidden_share(bt_temperature, quantile)
    return share * bt_temperature / ((1 - share) * t)


@checked(bt_temperature=_TEMPERATURE, log_ratio=_LOG_RATIO, quantile=_QUANTILE)
def mismatch_budget(bt_temperature: float, log_ratio: float, quantile: float = 0.45) -> float:
    """log(1 + k(b) B), the KL budget in nats at which the mismatch family is about worst.

    Args:
        bt_temperature: b, above t of `hidden_share`.
        log_ratio: B, above 0.
        quantile: of the clip, below 1/2.

    Raises:
        InputError: as `hidden_share`, or B not above 0.

    Source: ours.

    Example:
        >>> round(mismatch_budget(10.0, 100.0), 3)
        5.806
    """
    positive("log_ratio", log_ratio, "it bounds log(mu / ref), in nats")
    return float(np.log1p(hidden_ratio(bt_temperature, quantile) * log_ratio))


@checked(_hides, bt_temperature=_TEMPERATURE, log_ratio=_LOG_RATIO, quantile=_QUANTILE)
def mismatch_distortion(bt_temperature: float, log_ratio: float, quantile: float = 0.45) -> float:
    r"""Distortion of clipped RLHF on the mismatch family, of order k(b) B up to a logarithm.

        D = 1 / (x/k + (1 - x) e^{-tau}/(1 - e^{-B})),
        x log(x e^B) + (1 - x) log((1 - x)/(1 - e^{-B})) = tau

    x is the share of c that the budget tau of `mismatch_budget` buys, 1 if that is at least B. It holds where
    a is better than c, k(b) > 1, which at the usual quantile is so from b = 3 on.

    Args:
        bt_temperature: b, above t of `hidden_share`.
        log_ratio: B, above 0.
        quantile: of the clip, below 1/2.

    Raises:
        InputError: as `mismatch_budget`, or k(b) of at most 1.

    Source: ours.

    Example:
        >>> [round(mismatch_distortion(10.0, b), 2) for b in (1.0, 100.0, 1000.0)]
        [3.31, 47.52, 362.26]
    """
    k, tau = hidden_ratio(bt_temperature, quantile), mismatch_budget(bt_temperature, log_ratio, quantile)
    rest = -np.expm1(-log_ratio)

    def unspent(x: float) -> float:
        return x * (np.log(x) + log_ratio) + (1 - x) * np.log((1 - x) / rest) - tau

    bought = 1.0
    if tau < log_ratio:
        least = max(np.exp(-log_ratio), tau / (2 * log_ratio))  # it costs less than tau
        root: Any = brentq(unspent, least, 1 - 1e-15, xtol=1e-16, rtol=1e-13)  # pyright: ignore[reportArgumentType]
        bought = float(root)
    return float(1 / (bought / k + (1 - bought) * np.exp(-tau) / rest))


@checked(quantile=INSIDE_UNIT, window=POSITIVE)
def upper_end(quantile: float = 0.45, window: float = 0.375) -> float:
    """The upper end of the window, in logits above the response that all comparisons are with.

    Args:
        quantile: of the clip.
        window: its width in logits.

    Raises:
        InputError: a quantile outside (0, 1), or an upper end not above 0.

    Source: `distalign.solvers.choice.clipped_rlhf`.

    Example:
        >>> round(upper_end(), 4)
        0.1743
    """
    inside_unit("quantile", quantile, "0.45 puts the window just below the median of the comparisons")
    end = float(logit(quantile)) + window
    positive("window + logit(quantile)", end, "the window must reach above the response compared with")
    return end


@checked(bt_temperature=_TEMPERATURE, share=INSIDE_UNIT, quantile=INSIDE_UNIT, window=POSITIVE)
def unmatched_distortion(
    bt_temperature: float, share: float, quantile: float = 0.45, window: float = 0.375
) -> float:
    """Distortion of clipped RLHF without mismatch, b over `upper_end` at most and in the limit of few a.

        1 / (share + (1 - share) upper_end / b)

    Args:
        bt_temperature: b, above `upper_end`.
        share: of a among a and c in the reference, in (0, 1).
        quantile: of the clip.
        window: its width in logits.

    Raises:
        InputError: an argument is out of range.

    Source: ours.

    Example:
        >>> round(unmatched_distortion(10.0, 1e-3), 2)
        54.3
    """
    inside_unit("share", share, "it is that of the best response among the two that the clip ties")
    end = upper_end(quantile, window)
    if not bt_temperature > end:
        raise InputError(f"bt_temperature must be above {end:.3g}, got {bt_temperature}")
    return float(1 / (share + (1 - share) * end / bt_temperature))
