r"""WDPO at the scale of language models: its gradient penalty without differentiating attention twice, or
with.

`distalign.objectives.wdpo` adds to DPO the size of the gradients g_i = grad_e l_i by what the policy reads,
here the token embeddings e_i of pair i. The parameters' gradient of that penalty is a mixed second derivative
along g_i,

    squared:  d/dtheta rho \sum_i p_i ||g_i||^2        = \sum_i p_i (2 rho g_i)^T  d/dtheta grad_e l_i
    root:     d/dtheta rho [\sum_i p_i ||g_i||^2]^1/2  = \sum_i p_i (rho g_i / R)^T d/dtheta grad_e l_i

with R^2 = \sum_i p_i ||g_i||^2. So with v_i = g_i / ||g_i|| and the reach r_i = 2 rho ||g_i|| or rho ||g_i||
/ R it is r_i d/dh [d/dtheta l_i(e + h v_i)] at h = 0: a difference of ordinary gradients at moved embeddings,
which works with any attention kernel, recomputation or sharding.

    adversarial:        d/dtheta l_i(e + r_i v_i)                                              the penalty's part up to O(rho)
    finite_difference:  d/dtheta [l_i(e) + r_i (l_i(e + h v_i) - l_i(e - h v_i)) / (2h)]       up to O(h^2), any rho
    double_backward:    d/dtheta [l_i(e) + c ||g_i||^2], c = rho or rho / (2R)                 exact; for verification

The adversarial form is the Danskin gradient of the worst case itself, to first order in the reach. All three
see the global
batch: R is the mean over all micro-batches and processes.

In half precision a reach below the spacing of the embeddings is rounded away in the adversarial form, while a
finite difference takes steps of 1 % of their size whatever the radius. On a random bfloat16 Llama the cosine
of the penalty's part with the exact one was 0.99 and 1.00 at radius 1e-2, 0.78 and 0.95 at 1e-3, -0.02 and
0.50 at 1e-4 (adversarial and finite difference): the rest is the rounding of the gradients themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, one_of
from distalign.objectives import declared, wdpo
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs
from distalign.step import Objective, StepResult, alone
from distalign.two_pass import Gather, joined

MicroBatch = TypeVar("MicroBatch")
Method = Literal["adversarial", "finite_difference", "double_backward"]

# Steps of finite differences as a share of the size of a pair's embeddings. Smaller is all rounding (Llama's
# norms compute in float32 even in a float64 model), larger all curvature; measured on random Llamas, where
# float32 is then right to 3e-4.
_STEP = {torch.float64: 1e-4, torch.float32: 3e-4}
_HALF_STEP = 1e-2


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
class _Slope:
    """Of one micro-batch of k pairs: its scores, the gradient of each loss by its inputs, and their sizes."""

    batch: PreferenceLogProbs
    gradient: Tensor
    owner: Tensor
    squares: Tensor  # (k,) ||g_i||^2
    size: Tensor  # (k,) ||e_i||


def backward(
    objective: Objective,
    reader: Reader[MicroBatch],
    micro_batches: Sequence[MicroBatch],
    known: Sequence[PreferenceLogProbs],
    *,
    method: Method = "adversarial",
    step: float | None = None,
    gather: Gather | None = None,
    scale: float = 1.0,
) -> StepResult:
    """Add to the parameters' `.grad` this process's part of WDPO's gradient on the global batch.

    Args:
        objective: `distalign.objectives.wdpo` with its options bound by `functools.partial`.
        reader: how the policy reads a micro-batch.
        micro_batches, known, gather, scale: as in `distalign.step.backward`; known holds the reference at the
            unmoved inputs, which `through="policy"` keeps.
        method: "adversarial", "finite_difference" or "double_backward".
        step: h as a share of the size of a pair's inputs, for finite differences; None: by precision.

    Returns:
        The objective, penalty included, and the scores of the global batch: the same on each process.

    Raises:
        InputError: `through="ratio"` where the reference cannot be run, or a kernel that cannot be
            differentiated twice.

    Source: Xu et al. 2025, arXiv 2502.01930, Algorithm 1 and released code (squared); the differences are
        ours.
    """
    settings = _settings(objective)
    ratio = settings["through"] == "ratio"
    if ratio and reader.reference is None:
        raise InputError(
            "through='ratio' runs the reference at moved embeddings, too, which needs an adapter that can be "
            "switched off: set lora_rank, or say through='policy' under objective_options"
        )
    read = reader if ratio else replace(reader, reference=None)
    losses = partial(_losses, read, settings["beta"])
    result, mean, weights, slopes = _first_pass(
        objective, losses, read, micro_batches, known, gather or alone
    )
    if method == "double_backward":
        penalty = settings["radius"] * (1 if settings["form"] == "squared" else _inverse_root(mean) / 2)
        for micro_batch, part, p in zip(micro_batches, known, weights):
            _twice(losses, read, micro_batch, part, scale * p, penalty)
        return result
    one_of("wdpo_method", method, ("adversarial", "finite_difference", "double_backward"))
    for micro_batch, part, p, slope in zip(micro_batches, known, weights, slopes):
        norms = slope.squares.sqrt()
        reach = norms * (
            2 * settings["radius"]
            if settings["form"] == "squared"
            else settings["radius"] * _inverse_root(mean)
        )
        for factor, length in _points(method, reach, slope.size, slope.gradient.dtype, step):
            rows = read.embed(micro_batch)
            unit = torch.where(norms > 0, length / norms.where(norms > 0, 1), 0)
            moved = rows + _by_row(unit[slope.owner], slope.gradient) if len(unit) else rows
            (scale * (p * factor * losses(micro_batch, moved, part)[1]).sum()).backward()
    return result


def value(
    objective: Objective,
    reader: Reader[MicroBatch],
    micro_batches: Sequence[MicroBatch],
    known: Sequence[PreferenceLogProbs],
    *,
    gather: Gather | None = None,
) -> StepResult:
    """The objective and the scores without a gradient by parameters, for evaluation; arguments as in
    `backward`.
    """
    settings = _settings(objective)
    read = reader if settings["through"] == "ratio" else replace(reader, reference=None)
    losses = partial(_losses, read, settings["beta"])
    return _first_pass(objective, losses, read, micro_batches, known, gather or alone)[0]


def _settings(objective: Objective) -> dict[str, Any]:
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


def _losses(
    reader: Reader, beta: float, micro_batch, rows: Tensor, part: PreferenceLogProbs
) -> tuple[PreferenceLogProbs, Tensor]:
    """The scores at these inputs and the (k,) losses, with gradients."""
    chosen, rejected = reader.score(micro_batch, rows)
    batch = replace(part, chosen=chosen, rejected=rejected)
    if reader.reference is not None:
        ref_chosen, ref_rejected = reader.reference(micro_batch, rows)
        batch = replace(batch, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    return batch, -logsigmoid(pair_logits(batch, beta))


def _first_pass(objective, losses, reader, micro_batches, known, gather: Gather):
    """Scores and slopes of all micro-batches; what of them is global: the value, the mean square, the
    weights.
    """
    slopes = [
        _slope(losses, reader, micro_batch, part)
        for micro_batch, part in zip(micro_batches, known, strict=True)
    ]
    local = joined([slope.batch for slope in slopes])
    batch, mine, _ = gather(local)
    # Squared norms travel in the place of scores: what is gathered is one number for each pair, whatever its
    # name.
    squares = gather(replace(local, chosen=torch.cat([slope.squares for slope in slopes])))[0].chosen
    settings = _settings(objective)
    mean = pair_mean(batch, squares)
    if reader.reference is not None and not (batch.chosen_ratio.any() | batch.rejected_ratio.any()):
        # At the reference the gradient of every log-ratio is 0; what rounding may leave of it has no meaning
        # as a direction, and the root form would stretch it to the full radius.
        mean = torch.zeros_like(mean)
    plain = pair_mean(batch, -logsigmoid(pair_logits(batch, settings["beta"])))
    loss = plain + settings["radius"] * (mean if settings["form"] == "squared" else mean.sqrt())
    weights = batch.chosen_frequencies[mine].split([len(part.chosen) for part in known])
    return StepResult(loss, batch), mean, weights, slopes


def _slope(losses, reader: Reader, micro_batch, part: PreferenceLogProbs) -> _Slope:
    with torch.no_grad():
        rows = reader.embed(micro_batch)
    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        batch, each = losses(micro_batch, rows, part)
        (gradient,) = torch.autograd.grad(each.sum(), rows)
    owner = reader.owner(micro_batch)
    squares, size = _by_pair(gradient, owner, len(each)), _by_pair(rows.detach(), owner, len(each))
    return _Slope(batch.detached(), gradient, owner, squares.to(each.dtype), size.sqrt().to(each.dtype))


def _by_pair(rows: Tensor, owner: Tensor, pairs: int) -> Tensor:
    """(pairs,) squared Euclidean norm over all rows of each pair."""
    each = rows.to(torch.promote_types(rows.dtype, torch.float32)).flatten(1).square().sum(1)
    return each.new_zeros(max(pairs, 1)).index_add(0, owner, each)[:pairs]


def _by_row(factor: Tensor, rows: Tensor) -> Tensor:
    return (factor.view(-1, *[1] * (rows.dim() - 1)) * rows).to(rows.dtype)


def _inverse_root(mean: Tensor) -> Tensor:
    """1 / sqrt, and 0 at 0: every run of the ratio form starts there."""
    return torch.where(mean > 0, mean.where(mean > 0, 1).rsqrt(), 0)


def _points(
    method: str, reach: Tensor, size: Tensor, dtype: torch.dtype, step: float | None
) -> list[tuple[Tensor, Tensor]]:
    """Factors and lengths (k,) of the moves along v_i whose weighted losses have the gradient asked for."""
    one, still = torch.ones_like(reach), torch.zeros_like(reach)
    if method == "finite_difference":
        h = size * (step or _STEP.get(dtype, _HALF_STEP))
        slope = torch.where(h > 0, reach / (2 * h.where(h > 0, 1)), 0)
        return [(one, still), (slope, h), (-slope, -h)]
    return [(one, reach)]


def _twice(
    losses, reader: Reader, micro_batch, part: PreferenceLogProbs, weights: Tensor, penalty: Tensor | float
) -> None:
    rows = reader.embed(micro_batch)
    if not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    each = losses(micro_batch, rows, part)[1]
    try:
        (gradient,) = torch.autograd.grad(each.sum(), rows, create_graph=True)
        squares = _by_pair(gradient, reader.owner(micro_batch), len(each))
        (weights * (each + penalty * squares)).sum().backward()
    except RuntimeError as error:
        raise InputError(
            "wdpo_method 'double_backward' differentiates the model twice, which this attention kernel or "
            "this way of recomputing activations does not allow: use attn_implementation eager, or "
            f"wdpo_method adversarial or finite_difference ({str(error).splitlines()[0][:120]})"
        ) from error
