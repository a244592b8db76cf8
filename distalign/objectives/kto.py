"""KTO: a bounded utility of each response, measured from a reference point."""

from __future__ import annotations

from torch import Tensor

from distalign.checks import nonnegative, positive
from distalign.objectives._classes import pooled_mean
from distalign.objectives._declare import objective
from distalign.preferences import PreferenceLogProbs


@objective(data="classes", coupling="batch", alone="a utility around the mean of its own two log-ratios")
def kto(
    batch: PreferenceLogProbs,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    kl: float | Tensor | None = None,
) -> Tensor:
    r"""Kahneman-Tversky optimisation: chosen responses above a reference point, rejected ones below it.

        L = a w_D \sum_i p_i [1 - sigma(beta (u_i - z))] + (1-a) w_U \sum_j q_j [1 - sigma(beta (z - v_j))]

    with a the share of chosen responses in the batch, u, v = log pi/pi_ref and z the reference point, a
    constant for the gradient. KTO estimates z = max(0, KL(pi || pi_ref)) on mismatched prompts and responses,
    which are not part of the batch here: give it as `kl`, or leave None for max(0, pooled mean of the
    log-ratios of this batch). For data that pi_ref wrote that estimate is at most 0 in expectation, so z is 0
    there.

    There is no finite minimiser: the utility is no proper loss, and a tabular policy moves all its mass to
    the responses with w_D a p+ > w_U (1-a) p-.

    Shapes: n chosen and m rejected responses in, scalar out. Units: utility, in [0, max(w_D, w_U)]; beta per
    nat.

    Args:
        batch: n chosen and m rejected responses.
        beta: slope of the utility, above 0.
        desirable_weight: w_D, the weight of chosen responses, at least 0; with classes of unequal size
            n w_D / (m w_U) is recommended to lie in [1, 4/3].
        undesirable_weight: w_U, the weight of rejected responses, at least 0.
        kl: reference point z in nats, at least 0, or None.

    Raises:
        InputError: a class is empty, or a hyper-parameter is out of range.

    Source: Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 7 as TRL cites it.

    Example: u = (log 3, 0) and v = 0 with z = 0: a third of 1/4 + 1/2 + 1/2.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v = torch.tensor([3.0, 1.0]).log(), torch.zeros(1)
        >>> batch = PreferenceLogProbs(u, v, torch.zeros(2), torch.zeros(1))
        >>> round(kto(batch, beta=1.0, kl=0.0).item(), 5)
        0.41667
    """
    positive("beta", beta, "it is the slope of the utility, 0.1 is usual")
    nonnegative("desirable_weight", desirable_weight, "1 weighs every response alike")
    nonnegative("undesirable_weight", undesirable_weight, "1 weighs every response alike")
    if kl is not None and batch.validate:
        nonnegative("kl", kl, "it is an estimate of a Kullback-Leibler divergence, clipped at 0")  # pyright: ignore[reportArgumentType]
    u, v = batch.chosen_ratio, batch.rejected_ratio
    z = pooled_mean(batch, u, v).detach().clamp(min=0) if kl is None else kl
    below, above = (beta * (z - u)).sigmoid(), (beta * (v - z)).sigmoid()
    return pooled_mean(batch, desirable_weight * below, undesirable_weight * above)
