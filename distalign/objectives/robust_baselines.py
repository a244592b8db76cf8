"""Two other robust forms of DPO: an optimistic tilt (Dr. DPO) and the worst group (group-robust DPO)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import positive
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_logits
from distalign.preferences import PreferenceLogProbs


@objective(data="pairs", coupling="batch", alone="DPO")
def dr_dpo(batch: PreferenceLogProbs, *, beta: float, temperature: float = 1.0) -> Tensor:
    r"""Dr. DPO: DPO's loss under the most *favourable* re-weighting of the data, priced by its KL.

        L = -tau log \sum_i p_i exp(-l_i / tau) = inf_Q { E_Q l + tau KL(Q || P) },   l_i = softplus(-t_i)

    This is KLDPO with the sign of tau reversed: large losses are taken for noise and weigh less, so L is at
    most DPO's and increases to it as tau -> infinity. Under Bradley-Terry the minimiser is DPO's times tau /
    (tau - 1) for tau > 1 and infinite for tau <= 1: the opposite of shrinkage.

    Shapes: n pairs in, scalar out. Units: nats, tau included.

    Args:
        batch: n pairs: all of the global batch.
        beta: as in `dpo`.
        temperature: tau, the price of a nat, above 0; 1 in the authors' code.

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Wu et al. 2024, arXiv 2407.07880; formula as in two public implementations. The minimiser is ours.

    Example: losses log 2 and log 4 with tau = 1: -log of the mean of 1/2 and 1/4.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(-torch.tensor([1.0, 3.0]).log(), *torch.zeros(3, 2))
        >>> round(dr_dpo(batch, beta=1.0).neg().exp().item(), 5)
        0.375
    """
    positive("temperature", temperature, "it is the price of one nat, large values are DPO")
    losses = -logsigmoid(pair_logits(batch, beta))
    return -temperature * torch.logsumexp(batch.chosen_frequencies.log() - losses / temperature, 0)


@described(defaults={"temperature": 1.0})
@objective(data="pairs", coupling="batch", needs=("groups",), alone="DPO")
def group_dpo(batch: PreferenceLogProbs, *, beta: float, temperature: float) -> Tensor:
    r"""Group-robust DPO: a smooth maximum of the DPO losses of the groups.

        L = tau log \sum_g pi_g exp(L_g / tau) = sup_q { \sum_g q_g L_g - tau KL(q || pi) }

    with L_g the weighted mean DPO loss of group g and pi_g the group's share of the weights. With these
    shares L is at least DPO's (Jensen) and tends to it as tau -> infinity; as tau -> 0 it tends to the
    largest group loss. The gradient is \sum_g q_g grad L_g with q \propto pi exp(L / tau). That is one step,
    of size 1 / tau from the shares, of the exponentiated-gradient update q_g <- q_g exp(step L_g) that
    group-robust DPO repeats. The paper's method keeps q as state and climbs to the maximum over steps; this
    objective has no state and reaches the maximum as tau -> 0.

    Shapes: n pairs in, scalar out; groups are (n,) integers, any numbering. Units: nats, tau included.

    Args:
        batch: n pairs with `groups`: all of the global batch.
        beta: as in `dpo`.
        temperature: tau, the price of a nat between groups, above 0.

    Raises:
        InputError: data are not pairs, groups are missing, or a hyper-parameter is out of range.

    Source: Ramesh et al. 2024, arXiv 2405.20304; update rule as in the authors' code. The stateless form is
        ours.

    Example: groups of shares 3/4 and 1/4 with losses log 2 and log 4, tau = 1: log of 3/4 x 2 + 1/4 x 4.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> chosen = -torch.tensor([1.0, 1.0, 1.0, 3.0]).log()
        >>> batch = PreferenceLogProbs(chosen, *torch.zeros(3, 4), groups=torch.tensor([7, 7, 7, 2]))
        >>> round(group_dpo(batch, beta=1.0, temperature=1.0).exp().item(), 5)
        2.5
    """
    positive(
        "temperature",
        temperature,
        "it is the price of one nat between groups, small values are the worst group",
    )
    assert batch.groups is not None
    # Sums over a large group are taken in double precision: float32 loses a thousandth of a million pairs.
    losses, p = -logsigmoid(pair_logits(batch, beta)), batch.chosen_frequencies
    dtype, losses, p = losses.dtype, losses.double(), p.double()
    names, group = torch.unique(batch.groups, return_inverse=True)
    none = torch.zeros(len(names), dtype=p.dtype, device=p.device)
    share = none.index_add(0, group, p)
    # a group without weight has loss 0 here and no influence
    mean = none.index_add(0, group, p * losses) / share.where(share > 0, 1)
    return (temperature * torch.logsumexp(share.log() + mean / temperature, 0)).to(dtype)
