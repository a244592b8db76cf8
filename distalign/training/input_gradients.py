"""The losses of pairs and their gradients by what the policy reads: the first pass of WDPO's step.

The second part, the gradient of WDPO's penalty by the parameters, is `distalign.training.wasserstein`, where
the symbols are explained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, one_of
from distalign.objectives import declared, wdpo
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs
from distalign.step import Objective, StepResult
from distalign.two_pass import Gather, joined

MicroBatch = TypeVar("MicroBatch")
Losses = Callable[[MicroBatch, Tensor, PreferenceLogProbs], tuple[PreferenceLogProbs, Tensor]]
"""(micro-batch, inputs, reference) -> (scores, (k,) losses), with gradients: `pair_losses` of one policy."""


@dataclass(frozen=True)
class Reader(Generic[MicroBatch]):
    """How a policy reads a micro-batch, in two stages.

    Attributes:
        embed: micro-batch -> (R, ...) the inputs, with gradients to the parameters if they come from
            parameters.
        score: (micro-batch, inputs) -> (k,), (k,) log-probabilities of the k chosen and k rejected responses.
        owner: micro-batch -> (R,) the pair to which each row of the inputs belongs; rows of one pair form its
            input.
        reference: as `score`, under the reference policy and with gradients to the inputs; None if it cannot
            be run.
    """

    embed: Callable[[MicroBatch], Tensor]
    score: Callable[[MicroBatch, Tensor], tuple[Tensor, Tensor]]
    owner: Callable[[MicroBatch], Tensor]
    reference: Callable[[MicroBatch, Tensor], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class InputGradient:
    """The gradients g_i of one micro-batch of k pairs, at its unmoved inputs.

    Attributes:
        batch: its scores.
        gradient: (R, ...) of each row of the inputs.
        owner: (R,) the pair of each row.
        squares: (k,) ||g_i||^2.
        size: (k,) ||e_i||.
    """

    batch: PreferenceLogProbs
    gradient: Tensor
    owner: Tensor
    squares: Tensor
    size: Tensor


def wdpo_settings(objective: Objective) -> dict[str, Any]:
    """WDPO's options with its defaults filled in, checked."""
    if not isinstance(objective, partial) or objective.func is not wdpo:
        raise InputError(
            "this step is WDPO's: give functools.partial(distalign.objectives.wdpo, beta=..., radius=...)"
        )
    defaults = {
        n: p.default for n, p in inspect.signature(wdpo).parameters.items() if p.kind is p.KEYWORD_ONLY
    }
    settings = defaults | objective.keywords
    nonnegative("radius", settings["radius"], "it is the radius of the Wasserstein ball, 0 is DPO")
    one_of("form", settings["form"], ("root", "squared"))
    one_of("through", settings["through"], ("ratio", "policy"))
    assert declared(wdpo).data == "pairs"
    return settings


def pair_losses(
    reader: Reader[MicroBatch],
    beta: float,
    micro_batch: MicroBatch,
    rows: Tensor,
    reference: PreferenceLogProbs,
) -> tuple[PreferenceLogProbs, Tensor]:
    """The scores at these inputs and the (k,) losses of DPO, with gradients."""
    chosen, rejected = reader.score(micro_batch, rows)
    batch = replace(reference, chosen=chosen, rejected=rejected)
    if reader.reference is not None:
        ref_chosen, ref_rejected = reader.reference(micro_batch, rows)
        batch = replace(batch, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    return batch, -logsigmoid(pair_logits(batch, beta))


def first_pass(
    settings: dict[str, Any],
    losses: Losses,
    reader: Reader[MicroBatch],
    micro_batches: Sequence[MicroBatch],
    references: Sequence[PreferenceLogProbs],
    gather: Gather,
) -> tuple[StepResult, Tensor, Sequence[Tensor], list[InputGradient]]:
    """The input gradients of all micro-batches, and what of them is global.

    Returns:
        (objective and scores of the global batch, R^2, the weights p_i of each micro-batch, its gradients).
    """
    gradients = [
        _input_gradient(losses, reader, micro_batch, reference)
        for micro_batch, reference in zip(micro_batches, references, strict=True)
    ]
    local = joined([gradient.batch for gradient in gradients])
    batch, mine, _ = gather(local)
    # Squared norms travel in the place of scores: what is gathered is one number for each pair, whatever its
    # name.
    squares = gather(replace(local, chosen=torch.cat([g.squares for g in gradients])))[0].chosen
    mean = pair_mean(batch, squares)
    if reader.reference is not None and not (batch.chosen_ratio.any() | batch.rejected_ratio.any()):
        # At the reference the gradient of every log-ratio is 0. What rounding leaves of it has no meaning as
        # a direction, and the root form would stretch it to the full radius.
        mean = torch.zeros_like(mean)
    plain = pair_mean(batch, -logsigmoid(pair_logits(batch, settings["beta"])))
    loss = plain + settings["radius"] * (mean if settings["form"] == "squared" else mean.sqrt())
    weights = batch.chosen_frequencies[mine].split([len(reference.chosen) for reference in references])
    return StepResult(loss, batch), mean, weights, gradients


def _input_gradient(
    losses: Losses, reader: Reader[MicroBatch], micro_batch: MicroBatch, reference: PreferenceLogProbs
) -> InputGradient:
    with torch.no_grad():
        rows = reader.embed(micro_batch)
    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        batch, each = losses(micro_batch, rows, reference)
        (gradient,) = torch.autograd.grad(each.sum(), rows)
    owner = reader.owner(micro_batch)
    squares, size = (
        squares_by_pair(gradient, owner, len(each)),
        squares_by_pair(rows.detach(), owner, len(each)),
    )
    return InputGradient(
        batch.detached(), gradient, owner, squares.to(each.dtype), size.sqrt().to(each.dtype)
    )


def squares_by_pair(rows: Tensor, owner: Tensor, pairs: int) -> Tensor:
    """(pairs,) squared Euclidean norm over all rows of each pair."""
    each = rows.to(torch.promote_types(rows.dtype, torch.float32)).flatten(1).square().sum(1)
    return each.new_zeros(max(pairs, 1)).index_add(0, owner, each)[:pairs]
