r"""The exact gradient of a batch-coupled objective, one micro-batch at a time.

A batch-coupled objective (AOT sorts, KLDPO re-weights) is not a mean of one term per pair, so averaging it
over micro-batches gives another objective. With one pair in each micro-batch there is nothing to sort and
nothing to weigh against: the sorted mean (1/n) \sum_i h(u_(i) - v_(i)) of AOT becomes the unsorted mean (1/n)
\sum_i h(u_i - v_i), which for the logistic penalty is DPO's loss, and KLDPO's tau log E exp(l / tau) becomes
l. A trainer that accumulates gradients over single pairs therefore trains DPO, whatever its name.

The exact gradient needs no more memory than one micro-batch, because an objective sees a policy only through
n + m numbers, its log-probabilities s. With theta the policy's parameters

    d L / d theta = \sum_i (d L / d s_i) (d s_i / d theta),                                    (1)

and the factors d L / d s_i are plain numbers once all s are known. So there are two passes:

    pass 1 scores every micro-batch without gradients and joins the scores to one batch; the objective is
    differentiated with respect to these scores, which gives all d L / d s_i;

    pass 2 scores each micro-batch again, with gradients, and back-propagates its part of
    \sum_i (d L / d s_i) s_i, in which d L / d s_i is constant.                                 (2)

By (1) the gradients of (2) add up to that of the whole batch, to rounding, whatever the size of the
micro-batches. The price is one more forward pass. Several processes do the same after gathering their scores.

Source: gradient caching, Gao et al. 2021, arXiv 2101.06983, there for contrastive losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from distalign.checks import InputError
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs

_MicroBatch = TypeVar("_MicroBatch")
Gather = Callable[[PreferenceLogProbs], tuple[PreferenceLogProbs, slice, slice]]

_PER_CHOSEN = ("chosen", "ref_chosen", "weights", "groups", "chosen_tokens")
_PER_REJECTED = ("rejected", "ref_rejected", "rejected_weights", "rejected_tokens")


def two_pass_backward(
    objective: Callable[[PreferenceLogProbs], Tensor],
    score: Callable[[_MicroBatch], PreferenceLogProbs],
    micro_batches: Sequence[_MicroBatch],
    *,
    gather: Gather | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Add to the parameters' `.grad` the gradient of `objective` on all micro-batches as one batch.

    Args:
        objective: f(batch) -> scalar, usually a `functools.partial` of `distalign.objectives`.
        score: log-probabilities of one micro-batch, with gradients to the parameters when gradients are on.
            Called twice for each micro-batch and must answer the same: no dropout, or its random state
            replayed.
        micro_batches: what `score` takes, at least one; a micro-batch may hold any number of chosen and
            rejected responses.
        gather: joins the scores of several processes, `gather_global`; None for one process. Every process
            must call this function with at least one micro-batch (an empty one will do). Each process is left
            with the part of the global gradient that comes from its own responses: these *sum* to the
            gradient.
        scale: factor on the gradient. DistributedDataParallel and FSDP *average* over processes: pass the
            world size.

    Returns:
        The objective on the whole (global) batch, detached.

    Raises:
        InputError: the objective needs gradients by its inputs, no micro-batch is given, or micro-batches
            disagree on which optional fields they carry.

    Example:
        >>> from functools import partial
        >>> from distalign.objectives import aot_unpaired
        >>> theta, features = torch.tensor(0.5, requires_grad=True), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> def score(row):
        ...     zero = torch.zeros(1)
        ...     return PreferenceLogProbs(theta * row[:1], theta * row[1:], zero, zero)
        >>> loss_of = partial(aot_unpaired, penalty="least_squares", margin=0.0)
        >>> loss = two_pass_backward(loss_of, score, list(features))
        >>> loss.item(), theta.grad.item()  # sorted: (0 - 0)^2 / 2 + (3 theta - theta)^2 / 2
        (0.5, 2.0)
    """
    if "inputs" in declared(objective).needs:
        raise InputError(
            "wdpo reads gradients by its inputs, which do not pass through scalars: score the pairs at "
            "inputs moved adversarially, by rho grad / root of the mean square (root) or 2 rho grad "
            "(squared), and take dpo there; or average its squared form over micro-batches"
        )
    # pass 1: all scores, without a graph
    with torch.no_grad():
        scored = [score(micro_batch).detached() for micro_batch in micro_batches]
    local = joined(scored)
    batch, of_chosen, of_rejected = gather(local) if gather else (local, slice(None), slice(None))
    loss, by_chosen, by_rejected = score_gradients(objective, batch)
    # each process keeps the factors of its own responses, one piece for each micro-batch
    by_chosen = (scale * by_chosen[of_chosen]).split([len(x.chosen) for x in scored])
    by_rejected = (scale * by_rejected[of_rejected]).split([len(x.rejected) for x in scored])
    # pass 2: the weighted sum of scores of Eq. (2), micro-batch by micro-batch
    for micro_batch, chosen, rejected in zip(micro_batches, by_chosen, by_rejected, strict=True):
        scores = score(micro_batch)
        ((chosen * scores.chosen).sum() + (rejected * scores.rejected).sum()).backward()
    return loss


def score_gradients(
    objective: Callable[[PreferenceLogProbs], Tensor], batch: PreferenceLogProbs
) -> tuple[Tensor, Tensor, Tensor]:
    """The objective and its derivatives by the policy's log-probabilities.

    Returns:
        (loss, d loss / d chosen, d loss / d rejected) of shapes (), (n,), (m,), detached; zeros where the
        objective does not read a class.

    Example:
        >>> from functools import partial
        >>> from distalign.objectives import ipo
        >>> batch = PreferenceLogProbs(*torch.zeros(4, 2))
        >>> [x.tolist() for x in score_gradients(partial(ipo, beta=0.5), batch)]
        [1.0, [-1.0, -1.0], [1.0, 1.0]]
    """
    with torch.enable_grad():  # the factors d L / d s_i of Eq. (1)
        leaves = [score.detach().requires_grad_() for score in (batch.chosen, batch.rejected)]
        loss = objective(replace(batch, chosen=leaves[0], rejected=leaves[1]))
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    by_chosen, by_rejected = (
        torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True)
    )
    return loss.detach(), by_chosen, by_rejected


def joined(parts: Sequence[PreferenceLogProbs]) -> PreferenceLogProbs:
    """One batch from several, in order, without graphs and inputs.

    Values are checked unless a part says not to.

    Raises:
        InputError: no part, or an optional field that some parts carry and others lack.

    Example:
        >>> import torch
        >>> parts = [PreferenceLogProbs(*torch.zeros(4, n)) for n in (1, 2)]
        >>> joined(parts).chosen.shape
        torch.Size([3])
    """
    if not parts:
        raise InputError("micro_batches is empty: give at least one micro-batch, which may hold no response")
    fields = {}
    for name in _PER_CHOSEN + _PER_REJECTED:
        values = [_field(part, name) for part in parts]
        given = [value.detach() for value in values if value is not None]
        if given and len(given) < len(parts):
            raise InputError(
                f"{name} is given for some micro-batches only: give it for all of them or for none"
            )
        fields[name] = torch.cat(given) if given else None
    return PreferenceLogProbs(**fields, validate=all(part.validate for part in parts))


def _field(part: PreferenceLogProbs, name: str) -> Tensor | None:
    """A field of one part, written out where a part leaves it to a default.

    Defaults depend on the counts of a batch, and the joined batch may have other counts than its parts.
    """
    if name == "rejected_weights" and part.rejected_weights is None and part.weights is not None:
        return part.weights if part.is_paired else torch.ones_like(part.rejected)
    if name == "weights" and part.weights is None and part.rejected_weights is not None:
        return torch.ones_like(part.chosen)
    return getattr(part, name)


def gather_global(local: PreferenceLogProbs) -> tuple[PreferenceLogProbs, slice, slice]:
    """The responses of all processes as one batch, in order of rank; counts may differ.

    Scores travel in float64, so nothing is rounded. All processes must carry the same optional fields.

    Returns:
        (batch, where this process's chosen responses lie in it, the same for rejected).

    Raises:
        InputError: no process group.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise InputError(
            "gather_global needs a process group: call torch.distributed.init_process_group first, or leave "
            "gather=None for one process"
        )
    fields, slices = {}, []
    for names in (_PER_CHOSEN, _PER_REJECTED):
        given = {name: value for name in names if (value := getattr(local, name)) is not None}
        table, mine = _gathered(torch.stack([value.detach().double() for value in given.values()]))
        fields |= {name: row.to(value.dtype) for (name, value), row in zip(given.items(), table, strict=True)}
        slices.append(mine)
    return PreferenceLogProbs(**fields, validate=local.validate), slices[0], slices[1]


def _gathered(table: Tensor) -> tuple[Tensor, slice]:
    """The columns of all processes side by side, and where this process's own columns are.

    `all_gather` needs equal shapes, so shorter tables are padded and the padding is cut off again.
    """
    counts = [table.new_zeros(1, dtype=torch.long) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, table.new_tensor([table.shape[1]], dtype=torch.long))
    sizes = [int(count) for count in counts]
    padded = torch.nn.functional.pad(table, (0, max(sizes) - table.shape[1]))
    tables = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(tables, padded.contiguous())
    start = sum(sizes[: dist.get_rank()])
    whole = torch.cat([part[:, :size] for part, size in zip(tables, sizes, strict=True)], 1)
    return whole, slice(start, start + table.shape[1])
