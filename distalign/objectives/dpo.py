"""DPO, and its two variants for labels that may be flipped: conservative DPO and robust DPO.

Source: named with each loss; the implicit reward is that of Rafailov et al. 2023, arXiv 2305.18290.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, positive
from distalign.objectives._declare import described, objective
from distalign.preferences import PreferenceLogProbs


def pair_logits(batch: PreferenceLogProbs, beta: float) -> Tensor:
    """(n,) t_i = beta (u_i - v_i), the implicit reward of the chosen response minus that of the rejected one.

    Example:
        >>> import torch
        >>> batch = PreferenceLogProbs(*torch.tensor([[-1.0], [-3.0], [-2.0], [-2.0]]))
        >>> pair_logits(batch, beta=0.5).tolist()
        [1.0]
    """
    positive("beta", beta, "it is the strength of the pull to the reference, 0.1 is usual")
    return beta * (batch.chosen_ratio - batch.rejected_ratio)


def pair_mean(batch: PreferenceLogProbs, losses: Tensor) -> Tensor:
    """Mean of one loss per pair under the pairs' weights.

    Example:
        >>> import torch
        >>> batch = PreferenceLogProbs(*torch.zeros(4, 2), weights=torch.tensor([3.0, 1.0]))
        >>> pair_mean(batch, torch.tensor([0.0, 4.0])).item()
        1.0
    """
    return (batch.chosen_frequencies * losses).sum()


@objective(data="pairs", coupling="pair")
def dpo(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    r"""Direct preference optimisation: logistic regression of the preference on the log-ratios.

        L = \sum_i p_i softplus(-t_i),   t_i = beta (u_i - v_i),   u, v = log pi/pi_ref of chosen and rejected

    Shapes: n pairs in, scalar out. Units: nats.

    Args:
        batch: n pairs.
        beta: strength of the pull to the reference, above 0.

    Raises:
        InputError: data are not pairs, or beta is out of range.

    Source: Rafailov et al. 2023, arXiv 2305.18290.

    Example: t = 2, 0, -3, so L is a third of log(1 + e^-2) + log 2 + log(1 + e^3).
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v, zero = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 2.0]), torch.zeros(3)
        >>> round(dpo(PreferenceLogProbs(u, v, zero, zero), beta=1.0).item(), 4)
        1.2896
    """
    return pair_mean(batch, -logsigmoid(pair_logits(batch, beta)))


@described(defaults={"label_smoothing": 0.1})
@objective(data="pairs", coupling="pair")
def cdpo(batch: PreferenceLogProbs, *, beta: float, label_smoothing: float) -> Tensor:
    r"""Conservative DPO: DPO with labels smoothed towards a coin flip.

        L = \sum_i p_i [(1 - e) softplus(-t_i) + e softplus(t_i)]

    Where a pair is preferred with probability p the minimiser is t = logit((1 - e) p + e (1 - p)): finite
    always. e = 0 is DPO.

    Shapes: n pairs in, scalar out. Units: nats.

    Args:
        batch: n pairs.
        beta: as in `dpo`.
        label_smoothing: e, the smoothing of the labels, in [0, 1/2).

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Mitchell 2023, "A note on DPO with noisy preferences"; formula as in public code.

    Example: the pairs of `dpo` with e = 0.1: 0.9 x 1.2896 + 0.1 x (2.1269 + 0.6931 + 0.0486) / 3.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v, zero = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 2.0]), torch.zeros(3)
        >>> round(cdpo(PreferenceLogProbs(u, v, zero, zero), beta=1.0, label_smoothing=0.1).item(), 4)
        1.2562
    """
    e = _rate("label_smoothing", label_smoothing)
    t = pair_logits(batch, beta)
    return pair_mean(batch, -(1 - e) * logsigmoid(t) - e * logsigmoid(-t))


@described(defaults={"flip_rate": 0.1})
@objective(data="pairs", coupling="pair")
def rdpo(batch: PreferenceLogProbs, *, beta: float, flip_rate: float) -> Tensor:
    r"""Robust DPO: an unbiased estimate of the clean DPO loss from labels that are flipped at a known rate.

        L = \sum_i p_i [(1 - e) softplus(-t_i) - e softplus(t_i)] / (1 - 2 e)

    Where a pair is preferred with (observed) probability p the minimiser is t = logit((p - e) / (1 - 2e));
    for p outside (e, 1 - e) the loss is unbounded below. e = 0 is DPO.

    Shapes: n pairs in, scalar out. Units: nats; may be negative.

    Args:
        batch: n pairs.
        beta: as in `dpo`.
        flip_rate: e, the share of flipped labels, in [0, 1/2).

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Chowdhury et al. 2024, arXiv 2403.00409; formula as TRL's loss type `robust`.

    Example: the pairs of `dpo` with e = 0.1: [0.9 x 1.2896 - 0.1 x 0.9562] / 0.8.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v, zero = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 2.0]), torch.zeros(3)
        >>> round(rdpo(PreferenceLogProbs(u, v, zero, zero), beta=1.0, flip_rate=0.1).item(), 4)
        1.3312
    """
    e = _rate("flip_rate", flip_rate)
    t = pair_logits(batch, beta)
    return pair_mean(batch, (e * logsigmoid(-t) - (1 - e) * logsigmoid(t)) / (1 - 2 * e))


def _rate(name: str, value: float) -> float:
    nonnegative(name, value, "at 1/2 labels carry no information")
    if not value < 0.5:
        raise InputError(f"{name} must lie in [0, 1/2), got {value!r}: at 1/2 labels carry no information")
    return value
