"""IPO in the two conventions of public code, sums and per-token means, which are two different objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from distalign.checks import positive
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_mean
from distalign.preferences import PreferenceLogProbs


@objective(data="pairs", coupling="pair")
def ipo(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    r"""Identity preference optimisation on sequence sums: every pair aims at one log-ratio difference.

        L = \sum_i p_i (u_i - v_i - 1 / (2 beta))^2,   u, v = log pi/pi_ref of chosen and rejected

    The target is 1 / (2 beta). Where a pair is preferred with probability p the minimiser is u - v = (2p - 1)
    / (2 beta), which is bounded, unlike DPO's.

    Shapes: n pairs in, scalar out. Units: square nats; the target 1 / (2 beta) is in nats per *sequence*.

    Args:
        batch: n pairs.
        beta: inverse of twice the target, above 0 (tau in the paper).

    Raises:
        InputError: data are not pairs, or beta is out of range.

    Source: Azar et al. 2023, arXiv 2310.12036, Eq. 17 as TRL cites it; sums as in OpenRLHF, NeMo-Aligner and
        the DPO reference code. TRL, HALOs and LLaMA-Factory divide by length: `ipo_per_token`.

    Example: u - v = 2, 0, -3 against a target of 1: a third of 1 + 1 + 16.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v, zero = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 2.0]), torch.zeros(3)
        >>> ipo(PreferenceLogProbs(u, v, zero, zero), beta=0.5).item()
        6.0
    """
    return _squared(batch, batch.chosen_ratio - batch.rejected_ratio, beta)


def _reward_per_token(log_ratio: Tensor, tokens: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """beta times the mean log-ratio of a token; of the whole response where lengths are not given."""
    return options["beta"] * (log_ratio if tokens is None else log_ratio / tokens)


@described(reward=_reward_per_token)
@objective(data="pairs", coupling="pair", needs=("chosen_tokens", "rejected_tokens"))
def ipo_per_token(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    r"""Identity preference optimisation on per-token means, as TRL, HALOs and LLaMA-Factory define it.

        L = \sum_i p_i (u_i / T_i+ - v_i / T_i- - 1 / (2 beta))^2,   T+, T- completion lengths in tokens

    Shapes: n pairs in, scalar out. Units: square nats *per token*; with beta = 0.1 the target is 5 nats for
        every token.

    Args:
        batch: n pairs with `chosen_tokens` and `rejected_tokens`.
        beta: inverse of twice the target, above 0.

    Raises:
        InputError: data are not pairs, lengths are missing, or beta is out of range.

    Source: TRL 1.16's loss type `ipo`; the normalisation is not in the paper's formula (TRL reports the
        authors' consent).

    Example: lengths 2 and 1 turn u = 2, v = -1 into 1 - (-1) = 2 against a target of 1; equal lengths 1 give
    3.

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> scores = torch.tensor([[2.0], [-1.0], [0.0], [0.0]])
        >>> lengths = {"chosen_tokens": torch.tensor([2]), "rejected_tokens": torch.tensor([1])}
        >>> batch = PreferenceLogProbs(*scores, **lengths)
        >>> ipo_per_token(batch, beta=0.5).item(), ipo(batch, beta=0.5).item()
        (1.0, 4.0)
    """
    assert batch.chosen_tokens is not None
    assert batch.rejected_tokens is not None
    return _squared(
        batch, batch.chosen_ratio / batch.chosen_tokens - batch.rejected_ratio / batch.rejected_tokens, beta
    )


def _squared(batch: PreferenceLogProbs, difference: Tensor, beta: float) -> Tensor:
    positive("beta", beta, "the target of every difference is 1 / (2 beta)")
    return pair_mean(batch, (difference - 1 / (2 * beta)) ** 2)
