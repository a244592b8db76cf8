"""RDRO: estimate the bounded ratio of the preferred law to the pooled law with the policy itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import inside_unit, one_of
from distalign.objectives._classes import class_means, pooled_mean
from distalign.objectives._declare import objective
from distalign.preferences import PreferenceLogProbs


@objective(data="classes", coupling="class")
def rdro(batch: PreferenceLogProbs, *, alpha: float, reduction: str = "class_mean") -> Tensor:
    r"""Relative density ratio optimisation: logistic regression of "preferred" against "pooled" with logit log pi/pi_ref.

        L = \sum_i p_i [(1 + alpha) softplus(u_i) - u_i] + (1 - alpha) \sum_j q_j softplus(v_j)

    the logistic loss of p+ against alpha p+ + (1-alpha) p-, whose ratio is at most 1/alpha. If that mixture is pi_ref, the
    minimiser over all policies is p+. Coefficients of the gradient are bounded: (1 + alpha) sigma(u) - 1 in (-1, alpha) for
    a chosen response, which pulls back above u = log(1/alpha), and (1 - alpha) sigma(v) in (0, 1 - alpha) for a rejected one.

    `reduction="batch_mean"` weighs each class by its share a of the batch, as a trainer does that averages examples: the
    minimiser then is p+ only for a = 1/2 (or with weights 1/a and 1/(1-a)). Class means need the global totals of both classes.

    Shapes: n chosen and m rejected responses in, scalar out; no length normalisation and no beta. Units: nats.

    Args:
        batch: n chosen and m rejected responses.
        alpha: share of preferred responses in the mixture, in (0, 1).
        reduction: "class_mean" or "batch_mean".

    Raises:
        InputError: a class is empty, or a hyper-parameter is out of range.

    Source: Takahashi et al. 2026, arXiv 2604.04410 (abstract seen, printed loss not); derived from logistic density-ratio
    estimation. Which reduction the paper prints is not known.

    Example: at the reference L is 2 log 2 for any alpha; u = v = log 3 with alpha = 1/2 gives 2 log 4 - log 3.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> round(rdro(PreferenceLogProbs(*torch.zeros(4, 3)), alpha=0.39).item(), 4)
        1.3863
        >>> round(rdro(PreferenceLogProbs(*torch.tensor([[3.0], [3.0], [1.0], [1.0]]).log()), alpha=0.5).exp().item(), 4)
        5.3333
    """
    inside_unit("alpha", alpha, "it is the share of preferred responses in the data")
    one_of("reduction", reduction, ("class_mean", "batch_mean"))
    u, v = batch.chosen_ratio, batch.rejected_ratio
    chosen, rejected = -(1 + alpha) * logsigmoid(-u) - u, -(1 - alpha) * logsigmoid(-v)
    if reduction == "batch_mean":
        return pooled_mean(batch, chosen, rejected)
    of_chosen, of_rejected = class_means(batch, chosen, rejected)
    return of_chosen + of_rejected
