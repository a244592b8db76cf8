"""f-DPO: DPO with another f-divergence to the reference in place of the reverse KL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, positive
from distalign.divergences import Divergence
from distalign.divergences import divergence as named
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_mean
from distalign.preferences import PreferenceLogProbs


def _reward(log_ratio: Tensor, tokens: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """beta f'(pi/pi_ref): the reward whose optimal policy under the f-divergence is pi, up to a constant."""
    return options["beta"] * named(options["divergence"]).continued_link(log_ratio)


@described(paper="f_dpo", defaults={"divergence": "forward_kl"}, reward=_reward)
@objective(data="pairs", coupling="pair")
def f_dpo(batch: PreferenceLogProbs, *, beta: float, divergence: Divergence | str) -> Tensor:
    r"""Preference likelihood of the policy that is optimal under an f-divergence to the reference.

        L = \sum_i p_i softplus(-beta [g(u_i) - g(v_i)]),   g(x) = f'(e^x),
        u, v = log pi/pi_ref of chosen and rejected responses

    With Bradley-Terry preferences the population minimiser over all policies is argmax_pi E_pi[r] - beta
    D_f(pi || pi_ref). `divergence="reverse_kl"` is DPO. g is evaluated in log space and continued linearly
    where it passes e^20 (log-ratios below -20/alpha, for the links that grow exponentially there), so no pair
    overflows and the worst pairs keep a gradient; a minimiser with ratios beyond that would be moved. The
    ratio is that of the whole response: only the two KLs' relatives split over tokens, and summing f' over
    tokens is another objective.

    Shapes: n pairs in, scalar out. Units: nats; beta f''(1) sets the strength near the reference.

    Args:
        batch: n pairs.
        beta: strength of the divergence, above 0.
        divergence: one of `distalign.divergences`, or its name: reverse_kl, forward_kl, jensen_shannon,
            alpha:0.3, ...

    Raises:
        InputError: data are not pairs, beta is out of range, or the divergence is unknown or not admissible.

    Source: Wang et al. 2023, arXiv 2309.16240, Theorem 1 (statement from secondary sources, algebra checked);
        the linear continuation is ours.

    Example: forward KL with u = log 2 and v = -log 2: g = 1/2 and -1, so L = log(1 + e^-1.5).
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(*torch.tensor([[2.0], [0.5], [1.0], [1.0]]).log())
        >>> round(f_dpo(batch, beta=1.0, divergence="forward_kl").item(), 4)
        0.2014
    """
    positive("beta", beta, "it is the strength of the divergence to the reference")
    d = named(divergence)
    if not d.admissible:
        raise InputError(f"divergence {d.name} cannot be a preference loss: {d.refusal}")
    difference = d.continued_link(batch.chosen_ratio) - d.continued_link(batch.rejected_ratio)
    return pair_mean(batch, -logsigmoid(beta * difference))
