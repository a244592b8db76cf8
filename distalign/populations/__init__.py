"""Who prefers what: every population has a sampler and its exact law, over the same atoms."""

from distalign.populations.bradley_terry import BradleyTerryUsers, win_matrix
from distalign.populations.general import cyclic, random_intransitive, rock_paper_scissors
from distalign.populations.instances import consistency_populations
from distalign.populations.law import Law
from distalign.populations.log_linear import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.populations.mixture import mixture
from distalign.populations.population import Population
from distalign.populations.shift import at_angle, mixture_shift, reward_shift
from distalign.populations.thumbs import Thumbs

__all__ = [
    "BradleyTerryUsers",
    "Law",
    "LogLinearBradleyTerry",
    "Population",
    "Thumbs",
    "at_angle",
    "consistency_populations",
    "cyclic",
    "log_linear_bradley_terry",
    "mixture",
    "mixture_shift",
    "random_intransitive",
    "reward_shift",
    "rock_paper_scissors",
    "win_matrix",
]
