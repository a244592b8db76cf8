"""Plurality veto: first choices give points, vetoes take them away, and the last one to have any wins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.arguments import FUNCTION, LAW, checked
from distalign.checks import InputError
from distalign.solvers.choice.certified import CertifiedPolicy, normalised
from distalign.types import Array

_TIE = 1e-12


@checked(first_choices=LAW.of("m"), vetoes=FUNCTION)
def plurality_veto(first_choices: ArrayLike, vetoes: Callable[[NDArray[np.bool_]], Array]) -> CertifiedPolicy:
    """Plurality veto with all voters at once.

    Each alternative begins with its share of first choices as points. Then every voter takes points, all at
    the same speed, from the alternative that he likes least among those that still have points. One that has
    none left is out. Points given and points taken are equal in sum, so the last ones end together at time 1;
    they win, uniform if several (within 1e-12). Doing it with all voters at once needs no order of voters.

    Args:
        first_choices: (m,) share of users whose first choice each alternative is.
        vetoes: from (m,) whether an alternative still has points, to the (m,) share of users who like each
            alternative least among those; of sum 1, and 0 for the others.

    Raises:
        InputError: shares that are no distribution.

    Source: F. E. Kizilkaya and D. Kempe, Plurality Veto: a simple voting rule achieving optimal metric
        distortion, IJCAI 2022, arXiv 2206.07098, whose voters come one by one; all voters at once is the
        simultaneous veto of the same authors, arXiv 2305.19632.

    Example:
        >>> least_liked = {3: [0.0, 0.4, 0.6], 2: [0.4, 0.6, 0.0], 1: [1.0, 0.0, 0.0]}
        >>> plurality_veto([0.5, 0.3, 0.2], lambda alive: np.array(least_liked[alive.sum()])).policy.tolist()
        [1.0, 0.0, 0.0]
    """
    points = np.array(first_choices, float)
    if points.ndim != 1 or not (points >= 0).all() or abs(points.sum() - 1) > 1e-8:
        raise InputError("first_choices must hold one share for each alternative, none negative, of sum 1")
    alive = points > _TIE
    while True:
        speed = np.where(alive, vetoes(alive), 0.0)
        if abs(speed.sum() - 1) > 1e-8 or not (speed >= 0).all():
            raise InputError("vetoes must return shares of sum 1 of the alternatives that still have points")
        time = float(np.min(points[alive & (speed > 0)] / speed[alive & (speed > 0)]))
        left = np.where(alive, points - time * speed, 0.0)
        if not (left > _TIE).any():
            return CertifiedPolicy(normalised(np.where(alive, 0.0, -np.inf)), 0.0, 0.0)
        points, alive = np.maximum(left, 0), left > _TIE
