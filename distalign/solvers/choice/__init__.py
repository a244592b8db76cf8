"""Preference games, rewards and voting rules, each with a certificate, and the populations that they fail.

All of them see a population through its win matrix P(x preferred to y) or its first choices, and return a
distribution over the alternatives with a bound on how far from optimal it can be.
"""

from distalign.solvers.choice.certified import CertifiedPolicy, kl_divergence
from distalign.solvers.choice.clipped_rlhf import clipped_rlhf
from distalign.solvers.choice.games import (
    exploitability,
    kl_nlhf,
    maximal_lottery,
    regularised_gain,
    regularised_nlhf,
)
from distalign.solvers.choice.kl_linear import distortion, kl_linear_maximisation
from distalign.solvers.choice.nash_md import nash_md, nash_md_iterates
from distalign.solvers.choice.reward import RewardFit, borda, borda_scores, reward_mle, rlhf
from distalign.solvers.choice.voting import copeland, copeland_scores, plurality, random_dictator
from distalign.solvers.choice.worst_case_search import (
    WorstPopulation,
    borda_worst_population,
    lottery_worst_population,
)

__all__ = [
    "CertifiedPolicy",
    "RewardFit",
    "WorstPopulation",
    "borda",
    "borda_scores",
    "borda_worst_population",
    "clipped_rlhf",
    "copeland",
    "copeland_scores",
    "distortion",
    "exploitability",
    "kl_divergence",
    "kl_linear_maximisation",
    "kl_nlhf",
    "lottery_worst_population",
    "maximal_lottery",
    "nash_md",
    "nash_md_iterates",
    "plurality",
    "random_dictator",
    "regularised_gain",
    "regularised_nlhf",
    "reward_mle",
    "rlhf",
]
