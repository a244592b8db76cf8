"""Attention over rows in which several responses share one prompt, three ways, each exact.

A dense mask keeps sdpa from its fast kernels, and flash kernels take none. But only attention cares which
token sees which. So for attention alone, queries, keys and values of each text (prompt, one response) are
copied out of the shared row, plain causal attention runs on the texts, and its output is copied back.
Projections, MLPs and norms, the bulk of the work, still see the prompt once, and a response is attended to as
if it alone followed the prompt (ours). A model's own eager attention gets a dense mask of numbers to add,
FlexAttention a block mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.training.data.packing import Layout

_KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
_PREFIX = "shared_prompt_"


def install(causal: Any) -> None:
    """Let a model's attention take a table of texts where it takes a mask; with any other mask it stays what
    it was.

    Raises:
        InputError: an attention implementation that is none of sdpa, flash_attention_2 or 3, eager,
            flex_attention.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = causal.config._attn_implementation
    if name.startswith(_PREFIX) or name in ("eager", "flex_attention"):
        return
    if name not in _KERNELS:
        raise InputError(
            f"attn_implementation {name!r} is not known to share prompts: say 'sdpa' or share_prompt=False"
        )
    AttentionInterface.register(_PREFIX + name, _over_texts(ALL_ATTENTION_FUNCTIONS[name]))
    AttentionMaskInterface.register(_PREFIX + name, AttentionMaskInterface()[name])
    causal.set_attn_implementation(_PREFIX + name)


def mask(causal: Any, laid: Layout) -> Any:
    """What the model's attention takes as its mask: None where every row is one text, else by its
    implementation.

    Raises:
        InputError: a text is longer than a window of the model's attention.
    """
    if laid.segments is None:
        return None
    _check_window(causal.config, laid)
    name = causal.config._attn_implementation
    if name == "flex_attention":
        return _block_mask(laid.segments)
    if name == "eager":
        dtype = causal.get_input_embeddings().weight.dtype
        seen = visible(laid.segments)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(
            ~seen, torch.finfo(dtype).min
        )
    assert laid.texts is not None
    return laid.texts[None, None]


def visible(segments: Tensor) -> Tensor:
    """(B, 1, L, L) whether a query (third axis) sees a key (fourth): earlier tokens of the prompt and of its
    own response.

    A padded query sees the prompt, for a query that sees nothing gives NaN.

    Example:
        >>> visible(torch.tensor([[0, 1, 1, 2]]))[0, 0].int().tolist()
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    """
    query, key = segments[:, None, :, None], segments[:, None, None, :]
    order = torch.arange(segments.shape[1], device=segments.device)
    return ((key == 0) | (key == query)) & (order[:, None] >= order)


def _block_mask(segments: Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_key = segments[row, key]
        return (query >= key) & ((of_key == 0) | (of_key == segments[row, query]))

    rows, length = segments.shape
    return create_block_mask(seen, rows, None, length, length, device=str(segments.device))


def _over_texts(attend: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    """`attend`, but a (1, 1, T, W) mask of integers says which of the B * L tokens form each of T texts."""

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
    ):
        if (
            not isinstance(attention_mask, Tensor)
            or attention_mask.dim() < 4
            or attention_mask.dtype != torch.int64
        ):
            return attend(module, query, key, value, attention_mask, **options)
        options.pop("position_ids", None)  # flash kernels would look for packed texts in them
        texts = attention_mask[0, 0]
        copies = [_texts_of(states, texts) for states in (query, key, value)]
        out = attend(module, *copies, None, **options)[0].flatten(0, 1)
        return out.index_select(0, _first_places(texts, query)).unflatten(
            0, (query.shape[0], query.shape[2])
        ), None

    return attention


def _texts_of(states: Tensor, texts: Tensor) -> Tensor:
    """(B, heads, L, d) to (T, heads, W, d)."""
    return (
        states.transpose(1, 2)
        .flatten(0, 1)
        .index_select(0, texts.flatten())
        .unflatten(0, texts.shape)
        .transpose(1, 2)
    )


def _first_places(texts: Tensor, states: Tensor) -> Tensor:
    """(B * L,) first place of each token in the flattened table of texts, 0 for padding, which is in none."""
    flat = texts.flatten()
    places = flat.new_full((states.shape[0] * states.shape[2],), len(flat))
    places.scatter_reduce_(0, flat, torch.arange(len(flat), device=flat.device), "amin")
    return places.where(places < len(flat), 0)


def _check_window(config: Any, laid: Layout) -> None:
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    if window is not None and laid.longest_text > window:
        raise InputError(
            f"a text has {laid.longest_text} tokens, more than the model's attention window of {window}, "
            "which is not kept where a prompt is shared: say share_prompt=False or shorten max_length"
        )
