"""Populations: who prefers what, each with a sampler and its exact law over the same atoms.

A population is given by users with utilities, by a win matrix, by a mixture or a shift of other populations,
or by labels on single responses. The families on which a rule does as badly as it can are here, too.
`distalign.populations.sequences` is not imported here because it needs torch; all others need numpy and scipy
only.
"""

from distalign.populations.bradley_terry import BradleyTerryUsers, win_matrix
from distalign.populations.crowds import common_second, ideal_points, two_camps, unstructured, worst_off
from distalign.populations.general import (
    correlated_margins,
    cyclic,
    impartial_culture,
    random_intransitive,
    rock_paper_scissors,
)
from distalign.populations.instances import consistency_populations
from distalign.populations.law import Law
from distalign.populations.log_linear import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.populations.mixture import mixture
from distalign.populations.plackett_luce import first_choices, ranking_law
from distalign.populations.population import Population
from distalign.populations.shift import at_angle, mixture_shift, reward_shift
from distalign.populations.thumbs import Thumbs
from distalign.populations.worst_cases import WorstCase, borda_worst_case, universal_worst_case
from distalign.populations.worst_cases_kl import (
    ConstrainedWorstCase,
    correlated_worst_case,
    exponential_worst_case,
    unsupported_worst_case,
)

__all__ = [
    "BradleyTerryUsers",
    "ConstrainedWorstCase",
    "Law",
    "LogLinearBradleyTerry",
    "Population",
    "Thumbs",
    "WorstCase",
    "at_angle",
    "borda_worst_case",
    "common_second",
    "consistency_populations",
    "correlated_margins",
    "correlated_worst_case",
    "cyclic",
    "exponential_worst_case",
    "first_choices",
    "ideal_points",
    "impartial_culture",
    "log_linear_bradley_terry",
    "mixture",
    "mixture_shift",
    "random_intransitive",
    "ranking_law",
    "reward_shift",
    "rock_paper_scissors",
    "two_camps",
    "universal_worst_case",
    "unstructured",
    "unsupported_worst_case",
    "win_matrix",
    "worst_off",
]
