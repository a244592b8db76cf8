r"""The exact gradient of a global batch, one micro-batch at a time, for any objective of log-probabilities.

An objective that couples its batch takes two passes (`distalign.two_pass`). A separable one needs a single
pass, whatever the weights, the counts, the micro-batches and the processes. It has the form

    L(s) = \sum_i p_i l(s_i; r_i),                                                              (1)

where the frequencies p and the data r (reference, lengths, groups) are known before any score is computed, so

    d L / d s_i = p_i l'(s_i; r_i)                                                              (2)

depends on no other score. Put the live scores of one micro-batch in their places in the *whole* batch, any
finite number in all other places, and differentiate the objective: by (2) the result is exactly that
micro-batch's part of the gradient, and the parts add up to the whole (ours, by (1) and (2)). Averaging the
objective over micro-batches does not give this gradient. It gives more than its share to a pair in a small
micro-batch, or to a response in a micro-batch with few of its class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs
from distalign.two_pass import Gather, joined, two_pass_backward

_MicroBatch = TypeVar("_MicroBatch")
Objective = Callable[[PreferenceLogProbs], Tensor]


@dataclass(frozen=True)
class StepResult:
    """What a step leaves besides gradients.

    Attributes:
        loss: () the objective on the global batch, detached.
        batch: the scores of the global batch, detached, in order of processes and of their micro-batches.
    """

    loss: Tensor
    batch: PreferenceLogProbs


def backward(
    objective: Objective,
    score: Callable[[_MicroBatch], tuple[Tensor, Tensor]],
    micro_batches: Sequence[_MicroBatch],
    known: Sequence[PreferenceLogProbs],
    *,
    gather: Gather | None = None,
    scale: float = 1.0,
) -> StepResult:
    """Add to the parameters' `.grad` this process's part of the gradient of `objective` on the global batch.

    The objective's declaration decides whether one pass suffices or two are needed.

    Args:
        objective: f(batch) -> scalar, usually a `functools.partial` of `distalign.objectives`.
        score: (chosen, rejected) log-probabilities of one micro-batch, with gradients where gradients are on.
            Called once for each micro-batch, twice if the objective couples its batch; must answer the same
            then: no dropout.
        micro_batches: what `score` takes, at least one; each may hold any number of chosen and rejected
            responses, or none.
        known: what is known of each micro-batch beforehand: reference, weights, groups, lengths. Its policy
            entries are placeholders, any finite numbers. With `validate=False` scores that are not finite
            pass into the loss instead of raising, so that all processes see them.
        gather: joins the batches of several processes, `distalign.two_pass.gather_global`; None for one
            process.
        scale: factor on the gradient: the number of processes where gradients are averaged over them, as FSDP
            does.

    Returns:
        Loss and scores of the global batch, the same on each process.

    Raises:
        InputError: no micro-batch, or an objective that reads more than scores (wdpo:
            `distalign.training.wasserstein`).

    Source: two passes: gradient caching, Gao et al. 2021, arXiv 2101.06983; one pass: ours.

    Example: two micro-batches of one and two pairs; the mean is over three pairs.
        >>> from functools import partial
        >>> from distalign.objectives import ipo
        >>> theta, zero = torch.tensor(0.5, requires_grad=True), torch.zeros(3)
        >>> known = [PreferenceLogProbs(*[zero[:n]] * 4) for n in (1, 2)]
        >>> def score(n):
        ...     return theta * torch.ones(n), torch.zeros(n)
        >>> result = backward(partial(ipo, beta=1.0), score, [1, 2], known)
        >>> result.loss.item(), theta.grad.item()  # (theta - 1 / 2)^2 and its derivative
        (0.0, 0.0)
    """
    if len(known) != len(micro_batches) or not micro_batches:
        raise InputError(
            f"known has {len(known)} parts for {len(micro_batches)} micro-batches: give one for each, and at "
            "least one micro-batch"
        )
    join = gather or alone
    if declared(objective).coupling == "batch":
        return _two_passes(objective, score, list(zip(micro_batches, known)), join, scale)
    return _one_pass(objective, score, list(zip(micro_batches, known)), join, scale)


def alone(local: PreferenceLogProbs) -> tuple[PreferenceLogProbs, slice, slice]:
    """The gather of a single process, which has the whole batch already."""
    return local, slice(0, len(local.chosen)), slice(0, len(local.rejected))


def _two_passes(objective, score, parts, gather: Gather, scale: float) -> StepResult:
    """Both passes of `distalign.two_pass`; the gathered batch is remembered, to be returned with the loss."""
    gathered_once = []

    def gathered(local: PreferenceLogProbs) -> tuple[PreferenceLogProbs, slice, slice]:
        gathered_once.append(gather(local))
        return gathered_once[0]

    def filled(part) -> PreferenceLogProbs:
        chosen, rejected = score(part[0])
        return replace(part[1], chosen=chosen, rejected=rejected)

    loss = two_pass_backward(objective, filled, parts, gather=gathered, scale=scale)
    return StepResult(loss, gathered_once[0][0])


def _one_pass(objective, score, parts, gather: Gather, scale: float) -> StepResult:
    """The whole batch, differentiated once for each micro-batch, as Eq. (2) allows for a separable loss."""
    local = joined([part for _, part in parts])
    whole, of_chosen, of_rejected = gather(local)
    i, j = of_chosen.start, of_rejected.start
    scores = []
    for micro_batch, part in parts:
        live = score(micro_batch)  # the only scores with a graph: all others are numbers, Eq. (2)
        scores.append([x.detach() for x in live])
        chosen, rejected = _placed(whole.chosen, live[0], i), _placed(whole.rejected, live[1], j)
        (scale * objective(replace(whole, chosen=chosen, rejected=rejected, validate=False))).backward()
        i, j = i + len(part.chosen), j + len(part.rejected)
    scored = replace(
        local, chosen=torch.cat([c for c, _ in scores]), rejected=torch.cat([r for _, r in scores])
    )
    batch = gather(scored)[0]
    with torch.no_grad():
        return StepResult(objective(batch), batch)


def _placed(known: Tensor, live: Tensor, start: int) -> Tensor:
    """The batch entries `known` with the scores `live` in the places from `start` on."""
    return torch.cat([known[:start], live.to(known.dtype), known[start + len(live) :]])
