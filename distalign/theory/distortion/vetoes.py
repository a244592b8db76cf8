r"""What plurality veto loses under Plackett-Luce rankings, by two families of populations.

Most users like nothing. Their first and last places are noise, which gives every response as many points as
it takes. So a small share w of other users decides, and so does a response b that everybody else likes a
little (utility epsilon): for the many, first and last places of b differ from 1/m by factors

    1 + b epsilon (1 - 1/m)   and   1 - b epsilon (H_m - 1),      H_m = 1 + 1/2 + ... + 1/m,               (1)

because the last of m places is what m - 1 draws have left over. The w users like response a by h < 1, and
each likes best some of the other responses, c, by 1: a has hardly any first places from them and, like the
c, hardly any last places. To first order in epsilon and w all responses run out of points together, and the
one of largest excess

    e = m (first places - last places)

wins. With (1), and e of one of the w users, b wins if

    w (e_x - e_b) < b epsilon N   for x = a and x = c,     N = H_m + (H_m - 1)/(m - 1).                    (2)

If rankings are drawn from the bottom, (1) holds with 1 - 1/m for H_m - 1, and N = 2.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad

from distalign.arguments import FLAG, INSIDE_UNIT, POSITIVE, checked, whole_number

_TEMPERATURE = POSITIVE.meaning("it is the slope of the Plackett-Luce choice")
_COUNT = whole_number(1, 100_000)


@checked(
    bt_temperature=_TEMPERATURE,
    blocks=whole_number(2, 100_000),
    per_block=_COUNT,
    middle=INSIDE_UNIT,
    from_the_bottom=FLAG,
)
def veto_share(
    bt_temperature: float, blocks: int, per_block: int, middle: float, *, from_the_bottom: bool = False
) -> float:
    """w/epsilon up to which plurality veto elects b, by (2).

    There are m = 2 + G k responses: a, b, and G blocks of k responses c; an equal part of the w users likes
    each block by 1. The distortion of plurality veto at the threshold is h w/epsilon: for large m and b it is
    b h (1 - 1/G) ln m, so without bound in m, for rankings drawn from the top.

    Args:
        bt_temperature: b.
        blocks: G, at least 2.
        per_block: k.
        middle: h, what the w users have from a.
        from_the_bottom: how rankings are drawn.

    Source: ours, elementary; that plurality veto loses at least of order b log m is in the abstract of
        arXiv 2602.11152.

    Example:
        >>> [round(veto_share(10.0, 4, k, 0.5) / 10) for k in (10, 1000)]
        [3, 7]
    """
    m = 2 + blocks * per_block
    utilities = np.array([middle, 0.0, 1.0, 0.0])
    counts = np.array([1, 1, per_block, (blocks - 1) * per_block])
    a, b, own, other = _excess(bt_temperature, utilities, counts, from_the_bottom)
    harmonic = float(np.sum(1 / np.arange(1, m + 1)))
    gain = 2.0 if from_the_bottom else harmonic + (harmonic - 1) / (m - 1)
    rival = max(a, (own + (blocks - 1) * other) / blocks)
    return bt_temperature * gain / (rival - b)


@checked(bt_temperature=_TEMPERATURE, favourites=whole_number(2, 100_000), idle=_COUNT, middle=INSIDE_UNIT)
def favourites_distortion(bt_temperature: float, favourites: int, idle: int, middle: float) -> float:
    """Distortion of plurality veto where each of the w users has a favourite of his own, and a is second.

    There are m = 1 + n + D responses: a, n favourites c, which an n-th of the w users each like by 1, and D
    idle ones that nobody likes. If the excess of c is larger than that of a, the n favourites tie for the
    victory, and the distortion is h n; else a wins, and it is 1.

    Args:
        bt_temperature: b.
        favourites: n.
        idle: D, at least 1: their last places are what leaves c an excess.
        middle: h.

    Source: ours, elementary.

    Example:
        >>> [favourites_distortion(b, 16, 16, 0.5) for b in (5.0, 10.0)]
        [1.0, 8.0]
    """
    utilities = np.array([middle, 1.0, 0.0, 0.0])
    counts = np.array([1, 1, favourites - 1, idle])
    a, own, other, nobody = _excess(bt_temperature, utilities, counts, False)
    favourite = (own + (favourites - 1) * other) / favourites
    return middle * favourites if favourite > max(a, nobody) else 1.0


def _excess(
    bt_temperature: float, utilities: np.ndarray, counts: np.ndarray, from_the_bottom: bool
) -> np.ndarray:
    """m (P(first) - P(last)) of one response of each class, for a user of these utilities."""
    rates = np.exp(bt_temperature * (utilities - utilities.min()))
    first = rates / (counts @ rates)
    if from_the_bottom:
        last = 1 / rates / (counts @ (1 / rates))
    else:
        last = np.array([_last(i, rates, counts) for i in range(len(rates))])
        last = last / (counts @ last)
    return counts.sum() * (first - last)


def _last(i: int, rates: np.ndarray, counts: np.ndarray) -> float:
    """P(a clock of class i rings last) = integral over time of its density times P(all others have rung)."""
    others = counts - (np.arange(len(rates)) == i)

    def density(t: float) -> float:
        return float(rates[i] * np.exp(-rates[i] * t) * np.prod((-np.expm1(-rates * t)) ** others))

    middle = np.log(1 + counts.sum())  # the last of m clocks of rate 1 rings around log m
    return quad(density, 0, middle, limit=400)[0] + quad(density, middle, middle + 45, limit=400)[0]
