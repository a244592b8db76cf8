"""Policies: something that gives log-probabilities, from a table to a language model."""

from distalign.policies.log_linear import LogLinear
from distalign.policies.score import Policy, score
from distalign.policies.tabular import Tabular

__all__ = ["LogLinear", "Policy", "Tabular", "score"]
