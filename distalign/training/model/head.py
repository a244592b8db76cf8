r"""Log-probabilities of given tokens from hidden states, without ever holding the full logits.

The logits of N tokens over a vocabulary of V are the largest tensor of training: 4096 tokens of a model with
a vocabulary of 128,000 take 2 GB in float32, and as much again for their gradient. Only one number of each
row is wanted. With h_i (H,) the hidden state of token i, W (V, H) and b (V,) the head, y_i the target and z_i
= W h_i + b,

    log p_i = z_{i y_i} - log \sum_v exp z_iv                                      (1)
    d log p_i / d h_i = W_{y_i} - \sum_v p_iv W_v                                  (2)
    d log p_i / d W_v = (1[v = y_i] - p_iv) h_i                                    (3)

Where a model scales or caps its logits, z = f(W h + b) (`distalign.training.model.logits`), every W_v in (2)
and every difference in (3) is multiplied by f'.

Forward pass. The vocabulary is cut into tiles. For each tile the logits of all N tokens are computed, used
and dropped. What is kept of them is, for each token, the logit of its target, the largest logit m so far and
\sum_v exp(z_iv - m). When a later tile raises m, the sum so far is multiplied by exp(m_old - m_new), so no
exponential overflows, and at the end (1) follows from the three. log p_i depends on no hidden state but its
own, so (2) needs nothing from the backward pass: where gradients are on, \sum_v exp(z_iv - m) W_v is added up
in the same way, and the forward pass leaves (2), a tensor of the size of the hidden states.

Backward pass. The gradient by h_i is (2) times the gradient that comes in. So a frozen head (LoRA) is never
computed again. For a trained head (3) needs p_iv, which was not kept: each tile of logits is computed once
more, and its rows of the gradient are written once, so half-precision gradients are rounded once, too.

Source: ours in this arrangement; tiles of the vocabulary with recomputed logits are known as cut
    cross-entropy, the running sum as online softmax.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.training.model.logits import LogitMap

_PLAIN = LogitMap()
_CACHED_LOGITS = 2**21
"""Logits of a tile on a CPU: 8 MiB of float32, which its cache holds."""


def log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    logit_map: LogitMap = _PLAIN,
    fp32_logits: bool = True,
    chunk_tokens: int = 512,
) -> Tensor:
    """log p(target) of each of N hidden states.

    At most chunk_tokens * V logits (but N at least) are held at a time.

    Args:
        hidden: (N, H) floating point.
        weight: (V, H) of the same dtype.
        targets: (N,) in 0..V-1.
        bias: (V,) or None.
        logit_map: what the model does to its logits: a scale, a soft cap, or nothing.
        fp32_logits: half-precision inputs give logits accumulated and kept in float32; otherwise logits are
            rounded to the inputs' dtype, as a plain linear layer does.
        chunk_tokens: memory, in full rows of logits.

    Returns:
        (N,) float32 (float64 for float64 inputs), with gradients to hidden, weight and bias.

    Raises:
        InputError: on the backward pass, where a second derivative is asked for.

    Example:
        >>> hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0], [0.0, 5.0]])
        >>> round(log_probs(hidden, weight, torch.tensor([1])).item(), 4)
        -0.6931
    """
    out = _HeadLogProbs.apply(hidden, weight, bias, targets, logit_map, fp32_logits, chunk_tokens)
    assert isinstance(out, Tensor)
    return out


def plain_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    logit_map: LogitMap = _PLAIN,
) -> Tensor:
    """The same from the full logits by log_softmax, in float32 at least.

    It can be differentiated any number of times.
    """
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return (
        logit_map(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        .log_softmax(-1)
        .gather(1, targets[:, None])[:, 0]
    )


def _tiles(states: Tensor, vocabulary: int, chunk_tokens: int) -> Iterator[slice]:
    """Slices of the vocabulary; on a CPU they are so narrow that a tile of logits stays in its cache."""
    logits = chunk_tokens * vocabulary
    if states.device.type == "cpu":
        logits = min(logits, _CACHED_LOGITS)
    width = max(1, logits // max(len(states), 1))
    return (slice(start, min(start + width, vocabulary)) for start in range(0, vocabulary, width))


def _product(a: Tensor, b: Tensor, fp32: bool) -> Tensor:
    """a @ b, with `fp32` accumulated and returned in float32 where the factors are in half precision.

    CUDA has a product that does so; elsewhere the factors are cast first.
    """
    if not fp32 or b.dtype in (torch.float32, torch.float64):
        return a.to(b.dtype) @ b
    return torch.mm(a.to(b.dtype), b, out_dtype=torch.float32) if b.is_cuda else a.float() @ b.float()


def _logits(
    states: Tensor, weight: Tensor, bias: Tensor | None, tile: slice, logit_map: LogitMap, fp32: bool
) -> Tensor:
    """(N, width) logits of one tile of the vocabulary, in float32 or float64."""
    logits = _product(states, weight[tile].T, fp32)
    if bias is not None:
        logits = logits + bias[tile]
    return logit_map(logits if logits.dtype == torch.float64 else logits.float())


def _states(hidden: Tensor, fp32: bool) -> Tensor:
    """Hidden states in the dtype of the products, so that a CPU casts them once, not for each tile."""
    return hidden.float() if fp32 and not hidden.is_cuda and hidden.dtype != torch.float64 else hidden


class _HeadLogProbs(torch.autograd.Function):
    """(1) with the derivatives (2) and (3), tile by tile."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, logit_map, fp32, chunk_tokens):
        states = _states(hidden, fp32)
        maximum = hidden.new_full(
            (len(hidden),), -torch.inf, dtype=torch.promote_types(hidden.dtype, torch.float32)
        )
        total, target_logit = torch.zeros_like(maximum), torch.zeros_like(maximum)
        # \sum_v exp(z_iv - maximum) f'(u_iv) W_v, for (2)
        weighted = hidden.new_zeros(hidden.shape, dtype=maximum.dtype) if ctx.needs_input_grad[0] else None
        for tile in _tiles(states, len(weight), chunk_tokens):
            logits = _logits(states, weight, bias, tile, logit_map, fp32)
            columns, inside = _columns(targets, tile)
            slopes = None if logit_map.plain or weighted is None else logit_map.slope(logits)
            target_logit = torch.where(inside, logits.gather(1, columns)[:, 0], target_logit)
            raised = torch.maximum(maximum, logits.amax(1))
            rescale = (maximum - raised).exp_()
            exponentials = logits.sub_(raised[:, None]).exp_()
            total = total * rescale + exponentials.sum(1)
            maximum = raised
            if slopes is not None:
                exponentials = exponentials.mul_(slopes)
            if weighted is not None:
                weighted = weighted.mul_(rescale[:, None]).add_(_product(exponentials, weight[tile], fp32))
        normaliser = maximum + total.log()
        slope = None
        if weighted is not None:
            of_target = weight[targets]
            if not logit_map.plain:
                by_token = torch.as_tensor(logit_map.slope(target_logit), device=hidden.device)
                of_target = of_target * by_token.expand(len(hidden))[:, None]
            slope = (of_target - weighted.div_(total[:, None])).to(hidden.dtype)
        trained = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        ctx.save_for_backward(slope, *((hidden, weight, bias, targets, normaliser) if trained else ()))
        ctx.options = logit_map, fp32, chunk_tokens
        return target_logit - normaliser

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        if torch.is_grad_enabled():  # create_graph=True
            raise InputError(
                "the chunked head has first derivatives only: build the scorer with head='plain' for second "
                "ones"
            )
        slope, *saved = ctx.saved_tensors
        by_hidden = None if slope is None else (grad[:, None] * slope).to(slope.dtype)
        by_weight, by_bias = (
            _by_head(grad, *saved, *ctx.options, *ctx.needs_input_grad[1:3]) if saved else (None, None)
        )
        return by_hidden, by_weight, by_bias, None, None, None, None


def _by_head(
    grad, hidden, weight, bias, targets, normaliser, logit_map, fp32, chunk_tokens, by_weight, by_bias
):
    """(3) times the incoming gradient, summed over tokens: the gradients by weight and bias that are wanted.

    Each tile of logits is computed again, and its rows of the gradient are written once.
    """
    states = _states(hidden, fp32)
    by_weight = torch.empty_like(weight) if by_weight else None
    by_bias = torch.empty_like(bias) if by_bias else None
    for tile in _tiles(states, len(weight), chunk_tokens):
        logits = _logits(states, weight, bias, tile, logit_map, fp32)
        columns, inside = _columns(targets, tile)
        by_raw = None if logit_map.plain else logit_map.slope(logits)
        slopes = logits.sub_(normaliser[:, None]).exp_().mul_(-grad[:, None])
        slopes.scatter_add_(1, columns, torch.where(inside, grad, 0)[:, None])
        if by_raw is not None:
            slopes = slopes.mul_(by_raw)
        if by_weight is not None:
            by_weight[tile] = _product(slopes.T, states, fp32)
        if by_bias is not None:
            by_bias[tile] = slopes.sum(0)
    return by_weight, by_bias


def _columns(targets: Tensor, tile: slice) -> tuple[Tensor, Tensor]:
    """(N, 1) column of each target in the tile, clamped to it, and (N,) whether it is there.

    No value is read on the CPU, so nothing waits for a GPU.
    """
    columns = targets - tile.start
    width = tile.stop - tile.start
    return columns.clamp(0, width - 1)[:, None], (columns >= 0) & (columns < width)
