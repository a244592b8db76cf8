"""From a small policy to the batch of log-probabilities that an objective reads.

`Policy` says what the simulation asks of a policy, and `score` looks up its log-probabilities for given
responses.

Source: ours.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from distalign.preferences import PreferenceLogProbs


class Policy(Protocol):
    """What the simulation asks of a policy over S prompts and K responses.

    `theta` = 0 is the reference, and `directions` is an orthonormal basis of the parameters that change the
    policy: its complement is the gauge, which no data can identify.
    """

    @property
    def log_reference(self) -> Tensor:
        """(S, K) log-probabilities of the reference policy, constants."""
        ...

    @property
    def dimension(self) -> int:
        """Number d of parameters."""
        ...

    @property
    def directions(self) -> Tensor:
        """(d, r) orthonormal columns."""
        ...

    def log_probs(self, theta: Tensor) -> Tensor:
        """(S, K) log-probabilities at the parameter (d,)."""
        ...


def score(
    policy: Policy,
    theta: Tensor,
    chosen: Tensor,
    rejected: Tensor,
    weights: Tensor | None = None,
    rejected_weights: Tensor | None = None,
    *,
    validate: bool = True,
) -> PreferenceLogProbs:
    """The batch of log-probabilities that a small policy gives to the data at `theta`.

    Args:
        policy: `Tabular` or `LogLinear`.
        theta: (d,) parameter; gradients flow to it.
        chosen: (n,) responses s K + y, integer.
        rejected: (m,) the same.
        weights, rejected_weights: (n,), (m,) relative weights, as in `PreferenceLogProbs`.
        validate: False inside `torch.func` transforms, where values cannot be looked at.

    Example:
        >>> import torch
        >>> from distalign.policies import Tabular
        >>> policy, theta = Tabular([[0.5, 0.5]]), torch.zeros(2).double()
        >>> batch = score(policy, theta, chosen=torch.tensor([0]), rejected=torch.tensor([1]))
        >>> batch.chosen_ratio.tolist()
        [0.0]
    """
    table = policy.log_probs(theta).flatten()
    reference = policy.log_reference.flatten()
    return PreferenceLogProbs(
        chosen=table[chosen],
        rejected=table[rejected],
        ref_chosen=reference[chosen],
        ref_rejected=reference[rejected],
        weights=weights,
        rejected_weights=rejected_weights,
        validate=validate,
    )
