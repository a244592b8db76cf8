"""The largest policy class there is: one parameter for each response.

Every law on the responses is a policy of this class, so its population minimisers are free of approximation
error.

Source: the softmax over a table; textbook.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.linalg import helmert
from torch import Tensor

from distalign.checks import InputError


@dataclass(frozen=True, eq=False)
class Tabular:
    r"""The policy class pi_theta(y|s) \propto p_ref(y|s) exp(theta_{s,y}): every law on the K responses.

    A constant added to the parameters of one prompt changes nothing (the gauge), so S (K - 1) directions
    count.

    Args:
        reference: (S, K) reference probabilities, or (K,) for one prompt; positive, rows of sum 1.

    Raises:
        InputError: a probability is zero or a row does not sum to 1.

    Example:
        >>> policy = Tabular([0.2, 0.3, 0.5])
        >>> policy.dimension, tuple(policy.directions.shape)
        (3, (3, 2))
        >>> policy.log_probs(torch.zeros(3).double()).exp().tolist()
        [[0.2, 0.3, 0.5]]
    """

    reference: Any
    log_reference: Tensor = field(init=False, repr=False)
    directions: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the reference and build the basis of each prompt's contrasts."""
        log_reference = log_probabilities(self.reference)
        prompts, responses = log_reference.shape
        contrasts = torch.as_tensor(helmert(responses).T.copy())
        object.__setattr__(self, "log_reference", log_reference)
        object.__setattr__(self, "directions", torch.block_diag(*[contrasts] * prompts))

    @property
    def dimension(self) -> int:
        """Number of parameters S K."""
        return self.log_reference.numel()

    def log_probs(self, theta: Tensor) -> Tensor:
        """(S, K) log pi_theta at the parameter (S K,)."""
        return torch.log_softmax(self.log_reference + theta.reshape(self.log_reference.shape), -1)


def log_probabilities(reference: Any) -> Tensor:
    """Logarithm (S, K) of reference probabilities in float64, checked to be positive with sum 1.

    Example:
        >>> log_probabilities([0.5, 0.5]).exp().tolist()
        [[0.5, 0.5]]
    """
    p = torch.as_tensor(reference, dtype=torch.float64)
    p = p[None] if p.dim() == 1 else p
    if p.dim() != 2 or p.shape[1] < 2:
        raise InputError(f"reference must have shape (S, K) or (K,) with K >= 2, got {tuple(p.shape)}")
    if not (bool((p > 0).all()) and bool(((p.sum(-1) - 1).abs() <= 1e-6).all())):
        raise InputError(
            "reference must be positive with rows that sum to 1: a response the reference never gives has "
            "no log-ratio"
        )
    return (p / p.sum(-1, keepdim=True)).log()
