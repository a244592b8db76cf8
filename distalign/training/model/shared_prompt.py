"""Attention over rows in which several responses share one prompt.

A chosen and a rejected response to one prompt are usually scored in two rows, prompt + chosen and prompt +
rejected, and the prompt is computed twice. Here they stand in one row, prompt + chosen + rejected.

Why that is exact. In a causal model a prompt token sees only earlier prompt tokens, so its hidden states are
the same whatever follows it: one copy serves all responses. The hidden states of a response token depend on
its own token, on its position and on the tokens it sees. So two things make it the token of a row of its own:
its position is counted from the end of the prompt (`Layout.positions`), and it sees the prompt and earlier
tokens of its own response, but none of another response. All parts of the model except attention work on each
token by itself and need no change. What is left is attention, done in one of three ways, each exact:

* A dense mask would keep sdpa from its fast kernels, and flash kernels take no mask. So for attention alone,
  queries, keys and values of each text (the prompt with one response) are copied out of the shared row, plain
  causal attention runs on the texts, and its output is copied back (ours). A prompt token then has an output
  in every text, all of them equal, and the first is taken. Projections, MLPs and norms, which are most of the
  work, still compute the prompt once.
* A model's own eager attention gets a dense mask of numbers to add.
* FlexAttention gets a block mask.
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
    """Let a model's attention take a table of texts in the place of a mask.

    With any other mask it computes what it did before.

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
    """What the model's attention takes as its mask: None where every row is one text.

    Otherwise it depends on the implementation: a block mask for FlexAttention, a dense mask for eager
    attention, and the (1, 1, R, W) table of texts for the kernels that `install` has wrapped.

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
    """(B, 1, L, L) whether a query (third axis) sees a key (fourth).

    A query sees itself and earlier tokens of the prompt and of its own response. A padded query sees the
    prompt, for attention to nothing gives NaN.

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
    """`attend`, except that a (1, 1, T, W) mask of integers is taken for a table of T texts.

    Row t of the table holds which of the B * L tokens form text t.
    """

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
    """Copy the tokens of each text out of the shared rows: (B, heads, L, d) to (T, heads, W, d)."""
    return (
        states.transpose(1, 2)
        .flatten(0, 1)
        .index_select(0, texts.flatten())
        .unflatten(0, texts.shape)
        .transpose(1, 2)
    )


def _first_places(texts: Tensor, states: Tensor) -> Tensor:
    """(B * L,) first place of each token in the flattened table of texts; 0 for padding, which is in none."""
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
