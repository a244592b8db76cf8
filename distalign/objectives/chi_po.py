"""chi-PO: f-DPO with the chi-squared plus KL divergence and clipped reward differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import positive
from distalign.divergences import CHI2_PLUS_KL
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_mean
from distalign.preferences import PreferenceLogProbs


def _reward(log_ratio: Tensor, tokens: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """beta phi(pi/pi_ref), with no clip: the loss clips differences of these rewards only."""
    return options["beta"] * CHI2_PLUS_KL.continued_link(log_ratio)


@described(defaults={"clip": 20.0}, reward=_reward)
@objective(data="pairs", coupling="pair")
def chi_po(batch: PreferenceLogProbs, *, beta: float, clip: float) -> Tensor:
    r"""Preference likelihood under the link phi(z) = z + log z, with reward differences clipped.

        L = \sum_i p_i softplus(-clip_C(beta [phi(e^{u_i}) - phi(e^{v_i})])),   clip_C(t) = min(max(t, -C), C)

    The clip is hard, as in the paper: a pair beyond it, on either side, has no gradient. With C above every
    reward difference that occurs this is `f_dpo` with "chi2_plus_kl", whose population minimiser maximises
    E[r] - beta D_f.

    Shapes: n pairs in, scalar out. Units: nats; C is in units of reward.

    Args:
        batch: n pairs.
        beta: strength of the divergence, above 0.
        clip: C, the bound on the difference of rewards, above 0; 2 R_max in the paper, with R_max a bound on
            the reward.

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Huang et al. 2024, arXiv 2407.13399; the formula is from memory.

    Example: u = log 2, v = log 1/2 give phi = 2.6931 and -0.1931, difference 2.8863; clipped at 1, L = log(1
    + e^-1).

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(*torch.tensor([[2.0], [0.5], [1.0], [1.0]]).log())
        >>> [round(chi_po(batch, beta=1.0, clip=c).item(), 4) for c in (10.0, 1.0)]
        [0.0543, 0.3133]
    """
    positive("beta", beta, "it is the strength of the divergence to the reference")
    positive("clip", clip, "it bounds the difference of rewards, twice the largest reward")
    phi = CHI2_PLUS_KL.continued_link
    t = beta * (phi(batch.chosen_ratio) - phi(batch.rejected_ratio))
    clip = min(clip, torch.finfo(t.dtype).max)
    return pair_mean(batch, -logsigmoid(t.clamp(-clip, clip)))
