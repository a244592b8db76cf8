"""Four losses written out here, so that the fit is tested on its own."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from distalign import PreferenceLogProbs


def dpo(batch: PreferenceLogProbs, beta: float = 1.0) -> Tensor:
    return -(batch.chosen_frequencies * logsigmoid(beta * (batch.chosen_ratio - batch.rejected_ratio))).sum()


def sft(batch: PreferenceLogProbs) -> Tensor:
    return -(batch.chosen_frequencies * batch.chosen).sum()


def rdro(batch: PreferenceLogProbs, alpha: float = 0.5) -> Tensor:
    u, v = batch.chosen_ratio, batch.rejected_ratio
    chosen = (batch.chosen_frequencies * ((1 + alpha) * softplus(u) - u)).sum()
    return chosen + (1 - alpha) * (batch.rejected_frequencies * softplus(v)).sum()


def ddro(batch: PreferenceLogProbs, prior: float = 0.5) -> Tensor:
    """The label likelihood: undefined (NaN) where prior * pi/pi_ref exceeds 1."""
    losers = torch.log1p(-prior * batch.rejected_ratio.exp())
    return (
        -prior * (batch.chosen_frequencies * batch.chosen_ratio).sum()
        - (1 - prior) * (batch.rejected_frequencies * losers).sum()
    )
