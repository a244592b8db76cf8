"""What simple voting rules lose on simple populations, in closed form.

The populations are a tie between two alternatives, and users who each have a favourite of their own and a
common second choice (`distalign.populations.common_second`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import LARGEST, POSITIVE, UNIT, checked, quantity
from distalign.types import Array


@checked(distortion=quantity(1, LARGEST).each)
def tied_distortion(distortion: ArrayLike) -> Array:
    """Distortion of the even lottery between two alternatives:  2 D/(1 + D).

    D is the distortion of picking the worse of the two. Clipped RLHF comes to this lottery where plain RLHF
    picks the worse of the two alternatives that the reference allows and both lie below the clip. It is at
    most 2.

    Args:
        distortion: D, at least 1.

    Source: ours, elementary.

    Example:
        >>> tied_distortion([1.0, 3.0, 1e9]).round(6).tolist()
        [1.0, 1.5, 2.0]
    """
    d = np.asarray(distortion, float)
    return 2 * d / (1 + d)


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each,
    alternatives=quantity(3).each,
    utility=UNIT.each,
)
def plurality_distortion(
    bt_temperature: ArrayLike, alternatives: ArrayLike, utility: ArrayLike = 0.5
) -> Array:
    """Distortion of plurality on a population with a common second choice, under Plackett-Luce users.

    There are m alternatives: m - 1 groups each have a favourite of utility 1, and one common second has
    utility c. The distortion is

        c (m - 1)   while a favourite has more first choices, (e^b + m - 2)/(m - 1) > e^{bc},
        1           after that (for c (m - 1) >= 1).

    Args:
        bt_temperature: b.
        alternatives: m, at least 3.
        utility: c, in (0, 1), at least 1/(m - 1).

    Source: ours, elementary; the order min(e^b, m) of the worst case is Alipour and Goyal's, arXiv
        2602.11152.

    Example:
        >>> plurality_distortion(10.0, [11, 101, 1001]).tolist()
        [5.0, 50.0, 1.0]
    """
    b, m, c = _all(bt_temperature, alternatives, utility)
    favourite = np.logaddexp(b, np.log(m - 2)) - np.log(m - 1)
    return np.where(favourite > b * c, c * (m - 1), 1.0)


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice").each,
    alternatives=quantity(3).each,
    utility=UNIT.each,
)
def dictator_distortion(
    bt_temperature: ArrayLike, alternatives: ArrayLike, utility: ArrayLike = 0.5
) -> Array:
    """Distortion of random dictator on the population of `plurality_distortion`.

        c / (c f + (1 - f)/(m - 1)),   f = e^{bc}/(e^{bc} + e^b + m - 2)

    f is the share of users whose first choice is the common second.

    Args:
        bt_temperature: b.
        alternatives: m, at least 3.
        utility: c, in (0, 1), at least 1/(m - 1).

    Source: ours, elementary; the order m of the worst case is Alipour and Goyal's, arXiv 2602.11152.

    Example:
        >>> dictator_distortion(20.0, [11, 101]).round(2).tolist()
        [5.0, 49.89]
    """
    b, m, c = _all(bt_temperature, alternatives, utility)
    f = 1 / (1 + np.exp(b * (1 - c)) + (m - 2) * np.exp(-b * c))
    return c / (c * f + (1 - f) / (m - 1))


def _all(*values: ArrayLike) -> tuple[Array, ...]:
    return np.broadcast_arrays(*(np.asarray(v, float) for v in values))
