"""What theory predicts for the distortion of alignment: worst cases in closed form and sampling error.

`constants` has the worst-case distortion of each rule as a function of the Bradley-Terry temperature, `rules`
the distortion of simple voting rules on simple populations, `samples` the error of an empirical win matrix,
and `majorities` how often random majorities cycle.
"""

from distalign.theory.distortion.constants import (
    borda_distortion,
    borda_multipliers,
    correlated_rlhf_distortion,
    exponential_rlhf_distortion,
    linearised_margin,
    minimax_distortion,
    unsupported_multiplier,
    unsupported_rlhf_distortion,
    worst_gamma,
)
from distalign.theory.distortion.majorities import (
    condorcet_winner_probability,
    cycle_probability,
    support_probability,
    three_cycle_probability,
    three_cycle_probability_of_users,
)
from distalign.theory.distortion.rules import dictator_distortion, plurality_distortion, tied_distortion
from distalign.theory.distortion.samples import answer_covariance, saturation, win_error

__all__ = [
    "answer_covariance",
    "borda_distortion",
    "borda_multipliers",
    "condorcet_winner_probability",
    "correlated_rlhf_distortion",
    "cycle_probability",
    "dictator_distortion",
    "exponential_rlhf_distortion",
    "linearised_margin",
    "minimax_distortion",
    "plurality_distortion",
    "saturation",
    "support_probability",
    "three_cycle_probability",
    "three_cycle_probability_of_users",
    "tied_distortion",
    "unsupported_multiplier",
    "unsupported_rlhf_distortion",
    "win_error",
    "worst_gamma",
]
