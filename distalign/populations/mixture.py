"""Mixtures of populations: each comparison is answered by a member of one of them.

Source: textbook; the mixture of win matrices is that of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distalign.arguments import UNIT, Thing, checked
from distalign.checks import InputError
from distalign.populations._arrays import probabilities
from distalign.populations.population import Population

_POPULATIONS = Thing(
    "a list of populations",
    lambda value: isinstance(value, list | tuple) and all(isinstance(one, Population) for one in value),
)


@checked(weights=UNIT.each, populations=_POPULATIONS)
def mixture(weights: Any, populations: Sequence[Population]) -> Population:
    r"""The population whose comparisons are answered by group g with probability w_g: P = \sum_g w_g P_g.

    Groups answer the same questions, so they must share the reference and the law of the prompt. A mixture of
    Bradley-Terry groups is in general not Bradley-Terry.

    Args:
        weights: (G,) share of each group.
        populations: G populations with equal reference and prompts.

    Raises:
        InputError: no population, weights are no law, or the groups are asked different questions.

    Example:
        >>> a = Population(win=[[0.5, 0.9], [0.1, 0.5]], reference=[0.5, 0.5])
        >>> b = Population(win=[[0.5, 0.3], [0.7, 0.5]], reference=[0.5, 0.5])
        >>> mixture([0.5, 0.5], [a, b]).win.round(12).tolist()
        [[[0.5, 0.6], [0.4, 0.5]]]
    """
    if not populations:
        raise InputError("populations is empty: give at least one")
    w = probabilities("weights", weights, (len(populations),))
    first = populations[0]
    for other in populations[1:]:
        same = first.win.shape == other.win.shape
        if not (
            same
            and np.allclose(first.reference, other.reference)
            and np.allclose(first.prompts, other.prompts)
        ):
            raise InputError(
                "populations must share reference and prompts: a mixture answers the same questions"
            )
    return Population(np.tensordot(w, [p.win for p in populations], axes=1), first.reference, first.prompts)
