"""Supervised fine-tuning on the preferred responses, the baseline of every consistency study."""

from __future__ import annotations

from torch import Tensor

from distalign.objectives._declare import objective
from distalign.preferences import PreferenceLogProbs


@objective(data="chosen", coupling="class")
def sft(batch: PreferenceLogProbs) -> Tensor:
    r"""Negative log-likelihood of the chosen responses.

        L = -\sum_i p_i log pi(y_i+ | x_i)

    Its population minimiser is the law of the chosen responses, with no assumption on preferences or
    reference; rejected responses are ignored.

    Shapes: n chosen responses in, scalar out. Units: nats per response, summed over its tokens (TRL's `sft`
    loss is a mean over tokens).

    Raises:
        InputError: no chosen response.

    Source: maximum likelihood.

    Example: three responses of log-probability -1, -2 and -3.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> sft(PreferenceLogProbs(-torch.arange(1.0, 4.0), *torch.zeros(3, 3))).item()
        2.0
    """
    return -(batch.chosen_frequencies * batch.chosen).sum()
