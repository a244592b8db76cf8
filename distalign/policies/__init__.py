"""Policies small enough to compute with exactly: each gives log-probabilities for a parameter vector.

`Tabular` has one parameter for each response, `LogLinear` one for each feature, and `Recurrent` is a language
model over short sequences. `with_auxiliary` enlarges a log-linear class for AuxDPO. `score` turns the
log-probabilities of a policy into the batch that an objective reads.
"""

from distalign.policies.auxiliary import with_auxiliary
from distalign.policies.log_linear import LogLinear
from distalign.policies.recurrent import Recurrent
from distalign.policies.score import Policy, score
from distalign.policies.tabular import Tabular

__all__ = ["LogLinear", "Policy", "Recurrent", "Tabular", "score", "with_auxiliary"]
