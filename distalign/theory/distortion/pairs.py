"""What four responses and a detour of comparisons can do to RLHF in a KL ball.

The reference allows responses a and b; only the pairs a-c, c-d, d-b are compared, so that

    r(b) - r(a) = logit p(c over a) + logit p(d over c) + logit p(b over d).                              (1)

One half of the users has utilities (x, f, 1/2, 1) of (a, b, c, d), the other half f for all four, where f is
the smallest utility of anybody. Nobody likes b better than a. Yet the steps up to d are two and small, the
step down is one and large, and since half of the users do not care, no probability is near 0 or 1 and the
logit does not undo what the logistic function has flattened: for x near f, (1) is positive for every
temperature. RLHF then takes b for a.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import POSITIVE, Numbers, checked
from distalign.types import Array

_TEMPERATURE = POSITIVE.meaning("it is the slope of the Bradley-Terry choice")
_FLOOR = Numbers("from 0 to 1/4", "it is the smallest utility", low=0, high=0.25)


@checked(bt_temperature=_TEMPERATURE.each, least=_FLOOR.each)
def detour_utility(bt_temperature: ArrayLike, least: ArrayLike = 0.0) -> Array:
    """The utility x of response a up to which the detour misleads RLHF: (1) is 0 there.

        sigma(b (1/2 - x)) = 2 sigma(R) - 1/2,
        R = 2 artanh(tanh(b (1 - f)/2)/2) - 2 artanh(tanh(b/4)/2).

    Args:
        bt_temperature: b.
        least: f, the smallest utility, in [0, 1/4]; at f = 0 the distortion is infinite for every x > 0.

    Returns:
        x, of the common shape. It is less than f where the detour does no harm.

    Source: ours; arXiv 2505.23749, Theorem 9, has an unbounded distortion for ever more responses and without
        a KL constraint.

    Example:
        >>> detour_utility([1.0, 10.0]).round(4).tolist()
        [0.0453, 0.4965]
    """
    b, f = np.asarray(bt_temperature, float), np.asarray(least, float)
    needed = 2 * np.arctanh(np.tanh(b * (1 - f) / 2) / 2) - 2 * np.arctanh(np.tanh(b / 4) / 2)
    # sigma(t) = 1/2 + tanh(t/2)/2, so that tanh(b (1/2 - x)/2) = 2 tanh(R/2)
    return 0.5 - 2 / b * np.arctanh(2 * np.tanh(needed / 2))


@checked(utility=Numbers("from 0 to 1", "it is the utility of a", low=0, high=1).each, least=_FLOOR.each)
def detour_distortion(utility: ArrayLike, least: ArrayLike) -> Array:
    """The distortion of RLHF where the detour misleads it:  (x + f)/(2 f).

    Args:
        utility: x, of response a for the half of the users who like it.
        least: f, the utility that all others have, and response b for everybody; above 0.

    Source: ours.

    Example:
        >>> detour_distortion(0.3, 1e-3).item()
        150.5
    """
    x, f = np.asarray(utility, float), np.asarray(least, float)
    return (x + f) / (2 * f)
