r"""WDPO at the scale of language models: the gradient of its penalty, in three forms.

`distalign.objectives.wdpo` adds to DPO's loss l_i of pair i the size of the gradient g_i = grad_e l_i by what
the policy reads, here the token embeddings e_i of the pair. To train, the penalty has to be differentiated
once more, by the parameters theta. With weights p_i and R^2 = \sum_i p_i ||g_i||^2 that is, for the two
forms of the penalty,

    squared:  d/dtheta rho \sum_i p_i ||g_i||^2        = \sum_i p_i (2 rho g_i)^T   d/dtheta grad_e l_i    (1)
    root:     d/dtheta rho [\sum_i p_i ||g_i||^2]^1/2  = \sum_i p_i (rho g_i / R)^T d/dtheta grad_e l_i    (2)

Both are a mixed second derivative of the loss, by theta and by e along g_i. Fast attention kernels have no
second derivative, but none is needed: with the direction v_i = g_i / ||g_i|| and the reach

    r_i = 2 rho ||g_i||  (squared)   or   r_i = rho ||g_i|| / R  (root)                                    (3)

the i-th term is r_i d/dh [d/dtheta l_i(e + h v_i)] at h = 0: how an ordinary gradient changes as the
embeddings move along v_i. A difference of ordinary gradients at moved embeddings gives it with any attention
kernel, with recomputation and with sharding. The three forms of the whole gradient, and the error of the
penalty's part of it:

    adversarial        d/dtheta l_i(e + r_i v_i)                                         O(rho)            (4)
    finite_difference  d/dtheta [l_i(e) + r_i (l_i(e + h v_i) - l_i(e - h v_i)) / 2h]    O(h^2), any rho   (5)
    double_backward    d/dtheta [l_i(e) + c ||g_i||^2],  c = rho or rho / (2 R)          none              (6)

A first pass over all micro-batches finds the g_i. After it the adversarial form (4) makes one ordinary pass,
at embeddings moved as far as the ball lets an adversary move them: it is the Danskin gradient of the worst
case itself, to first order in the reach. The finite difference (5) makes three passes, and its error does not
grow with the radius. Double backward (6) makes one pass that differentiates twice, for which attention has to
be computed by its plain formula; it is exact, and is there to verify the other two. All three see the global
batch: R is a mean over all micro-batches and processes.

In half precision a reach below the spacing of the embeddings is rounded away in the adversarial form, while a
finite difference takes steps of 1 % of the embeddings' size whatever the radius. On a random bfloat16 Llama
the cosine of the penalty's part with the exact one was 0.99 and 1.00 at radius 1e-2, 0.78 and 0.95 at 1e-3,
-0.02 and 0.50 at 1e-4 (adversarial and finite difference): the rest is the rounding of the gradients
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from distalign.checks import InputError, one_of
from distalign.preferences import PreferenceLogProbs
from distalign.step import Objective, StepResult, alone
from distalign.training.input_gradients import (
    InputGradient,
    Losses,
    MicroBatch,
    Reader,
    first_pass,
    pair_losses,
    squares_by_pair,
    wdpo_settings,
)
from distalign.two_pass import Gather

Method = Literal["adversarial", "finite_difference", "double_backward"]

# The step h of (5) as a share of the size of a pair's embeddings. With a smaller step rounding dominates
# (Llama's norms compute in float32 even in a float64 model), with a larger one curvature. The values were
# measured on random Llamas, where the float32 gradient then has a relative error of 3e-4.
_STEP = {torch.float64: 1e-4, torch.float32: 3e-4}
_HALF_PRECISION_STEP = 1e-2


def backward(
    objective: Objective,
    reader: Reader[MicroBatch],
    micro_batches: Sequence[MicroBatch],
    references: Sequence[PreferenceLogProbs],
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
        micro_batches, gather, scale: as in `distalign.step.backward`.
        references: for each micro-batch what is known before it is scored (reference log-probabilities,
            weights, groups, lengths). `through="policy"` keeps these reference log-probabilities, which
            belong to the unmoved inputs.
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
    settings = wdpo_settings(objective)
    if settings["through"] == "ratio" and reader.reference is None:
        raise InputError(
            "through='ratio' runs the reference at moved embeddings, too, which needs an adapter that can be "
            "switched off: set lora_rank, or say through='policy' under objective_options"
        )
    if settings["through"] == "policy":
        reader = replace(reader, reference=None)
    losses = partial(pair_losses, reader, settings["beta"])
    result, mean, weights, gradients = first_pass(
        settings, losses, reader, micro_batches, references, gather or alone
    )
    if method == "double_backward":
        c = settings["radius"] * (1 if settings["form"] == "squared" else _inverse_root(mean) / 2)
        for micro_batch, reference, p in zip(micro_batches, references, weights):
            _differentiate_twice(losses, reader, micro_batch, reference, scale * p, c)
        return result
    one_of("wdpo_method", method, ("adversarial", "finite_difference", "double_backward"))
    stretch = settings["radius"] * (2 if settings["form"] == "squared" else _inverse_root(mean))
    for micro_batch, reference, p, gradient in zip(micro_batches, references, weights, gradients):
        reach = gradient.squares.sqrt() * stretch  # (3)
        for factor, length in _moves(method, reach, gradient, step):
            rows = _moved(reader.embed(micro_batch), gradient, length)
            (scale * (p * factor * losses(micro_batch, rows, reference)[1]).sum()).backward()
    return result


def value(
    objective: Objective,
    reader: Reader[MicroBatch],
    micro_batches: Sequence[MicroBatch],
    references: Sequence[PreferenceLogProbs],
    *,
    gather: Gather | None = None,
) -> StepResult:
    """The objective and the scores without a gradient by parameters, for evaluation.

    Arguments are those of `backward`.
    """
    settings = wdpo_settings(objective)
    if settings["through"] == "policy":
        reader = replace(reader, reference=None)
    losses = partial(pair_losses, reader, settings["beta"])
    return first_pass(settings, losses, reader, micro_batches, references, gather or alone)[0]


def _moves(
    method: str, reach: Tensor, gradient: InputGradient, step: float | None
) -> list[tuple[Tensor, Tensor]]:
    """Factors and lengths (k,) of the moves along v_i whose weighted losses have the gradient (4) or (5)."""
    one = torch.ones_like(reach)
    if method == "adversarial":
        return [(one, reach)]
    h = gradient.size * (step or _STEP.get(gradient.gradient.dtype, _HALF_PRECISION_STEP))
    slope = torch.where(h > 0, reach / (2 * h.where(h > 0, 1)), 0)
    return [(one, torch.zeros_like(reach)), (slope, h), (-slope, -h)]


def _moved(rows: Tensor, gradient: InputGradient, length: Tensor) -> Tensor:
    """The inputs of each pair moved by so much along v_i; not moved where the gradient is 0."""
    if not len(length):  # a micro-batch that does not count
        return rows
    norms = gradient.squares.sqrt()
    factor = torch.where(norms > 0, length / norms.where(norms > 0, 1), 0)[gradient.owner]
    moves = factor.view(-1, *[1] * (rows.dim() - 1)) * gradient.gradient
    return rows + moves.to(gradient.gradient.dtype)


def _differentiate_twice(
    losses: Losses,
    reader: Reader[MicroBatch],
    micro_batch: MicroBatch,
    reference: PreferenceLogProbs,
    weights: Tensor,
    c: Tensor | float,
) -> None:
    """Add the gradient (6) of one micro-batch."""
    rows = reader.embed(micro_batch)
    if not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    each = losses(micro_batch, rows, reference)[1]
    try:
        (gradient,) = torch.autograd.grad(each.sum(), rows, create_graph=True)
        squares = squares_by_pair(gradient, reader.owner(micro_batch), len(each))
        (weights * (each + c * squares)).sum().backward()
    except RuntimeError as error:
        raise InputError(
            "wdpo_method 'double_backward' differentiates the model twice, which this attention kernel or "
            "this way of recomputing activations does not allow: use attn_implementation eager, or "
            f"wdpo_method adversarial or finite_difference ({str(error).splitlines()[0][:120]})"
        ) from error


def _inverse_root(mean: Tensor) -> Tensor:
    """1 / sqrt(mean), and 0 at 0, where every run of the ratio form starts."""
    return torch.where(mean > 0, mean.where(mean > 0, 1).rsqrt(), 0)
