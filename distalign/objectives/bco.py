"""BCO, binary classifier optimisation: a logistic classifier whose logit is the implicit reward."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import positive
from distalign.objectives._classes import pooled_mean
from distalign.objectives._declare import objective
from distalign.preferences import PreferenceLogProbs


@objective(data="classes", coupling="batch", alone="a loss around the mean of its own two rewards")
def bco(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    r"""Binary classifier optimisation: logistic regression of the label on the reward, shifted by its mean.

        L = a \sum_i p_i softplus(-(beta u_i - d)) + (1-a) \sum_j q_j softplus(beta v_j - d)
        d = beta [a \sum_i p_i u_i + (1-a) \sum_j q_j v_j], a constant for the gradient

    with a the share of chosen responses in the batch and u, v = log pi/pi_ref. The loss is proper: if d were
    the right normaliser, the population limit would be pi \propto pi_ref (p+/p-)^(1/beta). But d is a mean
    reward, so this holds only where the two coincide (for instance where a = 1/2 and p+ and p- mirror each
    other around a symmetric reference).

    Shapes: n chosen and m rejected responses in, scalar out. Units: nats.

    Args:
        batch: n chosen and m rejected responses; d is the mean over this batch (TRL keeps a running mean).
        beta: scale of the reward, above 0.

    Raises:
        InputError: a class is empty, or beta is out of range.

    Source: Jung et al. 2024, arXiv 2404.04656; the formula is that of TRL's BCO trainer, without its
        re-weighting of the rejected responses by a classifier of prompts.

    Example: u = 1 and v = -1 have mean 0: L = log(1 + e^-1). Shifting both rewards by 5 changes nothing.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> for shift in 0.0, 5.0:
        ...     u, v, zero = torch.tensor([1.0 + shift]), torch.tensor([-1.0 + shift]), torch.zeros(1)
        ...     print(round(bco(PreferenceLogProbs(u, v, zero, zero), beta=1.0).item(), 4))
        0.3133
        0.3133
    """
    positive("beta", beta, "it is the scale of the reward, 0.1 is usual")
    u, v = beta * batch.chosen_ratio, beta * batch.rejected_ratio
    shift = pooled_mean(batch, u, v).detach()
    return pooled_mean(batch, -logsigmoid(u - shift), -logsigmoid(shift - v))
