"""Named populations on which consistency without a Bradley-Terry model is tested.

Studies and tests of density-ratio alignment share these four, so that their results can be compared.
"""

from __future__ import annotations

import numpy as np

from distalign.populations.bradley_terry import win_matrix
from distalign.populations.general import random_intransitive, rock_paper_scissors
from distalign.populations.mixture import mixture
from distalign.populations.population import Population


def consistency_populations() -> dict[str, Population]:
    """Four populations of one prompt and about ten responses, from far outside Bradley-Terry to inside it.

        intransitive   independent log-odds of sd 8; 19 of 120 triples are cyclic
        tiers          three tiers of rock-paper-scissors, +-4 inside, +-3 between, K = 9
        mixed          a 60/40 mixture of two Bradley-Terry groups whose utilities, of sd 3, have
                       correlation about -0.6
        bradley_terry  utilities of sd 1

    References are Dirichlet(3/2) with 0.01 added, so that p+ is at least 0.01 everywhere but in
    `intransitive`. The seed is fixed; the instances are ours.

    Example:
        >>> for name, population in consistency_populations().items():
        ...     print(name, (population.preferred / population.dispreferred).max().round(1))
        intransitive 12.7
        tiers 6.7
        mixed 2.1
        bradley_terry 2.7
    """
    rng = np.random.default_rng(22)
    reference = _reference(rng, 10)
    intransitive = Population(random_intransitive(rng, 10, sd=8.0), reference)
    utilities = rng.normal(size=10)
    opposite = -0.6 * utilities + 0.8 * rng.normal(size=10)
    groups = [Population(win_matrix(3 * u[None], [1.0], 1.0), reference) for u in (utilities, opposite)]
    return {
        "intransitive": intransitive,
        "tiers": Population(rock_paper_scissors(3), _reference(rng, 9)),
        "mixed": mixture([0.6, 0.4], groups),
        "bradley_terry": Population(win_matrix(rng.normal(size=(1, 10)), [1.0], 1.0), _reference(rng, 10)),
    }


def _reference(rng: np.random.Generator, responses: int) -> np.ndarray:
    p = rng.dirichlet(np.full(responses, 1.5)) + 0.01
    return p / p.sum()
