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

Windows. Many models let some of their layers see the last few tokens only, or those of the same chunk. Which
ones a token sees then depends on its position in its text, not on its place in the shared row. A model asks
transformers for the mask of each kind of layer; here that request is answered for one text alone, (W, W), by
the very function that answers it where prompts are not shared. The first way hands this mask to attention on
the texts; the others look the positions of query and key up in it. So whatever windows a model asks for are
kept, and nothing is read off its config. `Sharing.windows` notes what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.training.data.packing import Layout

_KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
_PREFIX = "shared_prompt_"


@dataclass(frozen=True)
class Sharing:
    """A shared layout while a model runs on it.

    Attributes:
        laid: the layout.
        windows: sizes of the windows and chunks for which the model asked for a mask.
    """

    laid: Layout
    windows: set[int] = field(default_factory=set)

    def is_for(self, options: dict[str, Any]) -> bool:
        """Whether a request for a mask is for the tokens of the layout among themselves."""
        rows, length = self.laid.ids.shape
        sizes = (options.get("q_length"), options.get("kv_length"))
        return sizes == (length, length) and options.get("batch_size") == rows

    def of_a_text(self, make: Callable[..., Any], options: dict[str, Any], size: int) -> Any:
        """The mask that `make` would give for one text: (1, 1, size, size), or None for plain causal."""
        if options.get("local_size") is not None:
            self.windows.add(int(options["local_size"]))
        return make(
            **(options | {"batch_size": 1, "q_length": size, "kv_length": size, "attention_mask": None})
        )


_NOW: ContextVar[Sharing | None] = ContextVar("sharing", default=None)


@contextmanager
def sharing(laid: Layout) -> Iterator[Sharing]:
    """Within, a model on which `install` was called reads the layout as texts that share prompts.

    A layout of single texts changes nothing.
    """
    now = Sharing(laid)
    token = _NOW.set(now if laid.segments is not None else None)
    try:
        yield now
    finally:
        _NOW.reset(token)


def install(causal: Any) -> None:
    """Let a model's attention and its masks read shared layouts.

    Outside of `sharing` it computes what it did before.

    Raises:
        InputError: an attention implementation that is none of sdpa, flash_attention_2 or 3, eager,
            flex_attention.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = causal.config._attn_implementation
    if name.startswith(_PREFIX):
        return
    masks = AttentionMaskInterface()
    if name in ("eager", "flex_attention"):
        if not getattr(masks[name], "shares_prompts", False):
            wrap = _dense_masks if name == "eager" else _block_masks
            AttentionMaskInterface.register(name, _answering(masks[name], wrap))
        return
    if name not in _KERNELS:
        raise InputError(
            f"attn_implementation {name!r} is not known to share prompts: say 'sdpa' or share_prompt=False"
        )
    AttentionInterface.register(_PREFIX + name, _over_texts(ALL_ATTENTION_FUNCTIONS[name]))
    AttentionMaskInterface.register(_PREFIX + name, _answering(masks[name], _tables))
    causal.set_attn_implementation(_PREFIX + name)


def uninstall(causal: Any) -> None:
    """Give the model its own attention back."""
    name = causal.config._attn_implementation
    if name.startswith(_PREFIX):
        causal.set_attn_implementation(name.removeprefix(_PREFIX))


Make = Callable[..., Any]


def _answering(make: Make, answer: Callable[[Sharing, Make, dict[str, Any]], Any]) -> Make:
    """The function `make` of transformers that makes masks, but for requests within `sharing`."""

    def masks(*given: Any, **options: Any) -> Any:
        now = _NOW.get()
        if now is None or given or not now.is_for(options):
            return make(*given, **options)
        return answer(now, make, options)

    masks.shares_prompts = True  # type: ignore[attr-defined]
    return masks


def _tables(now: Sharing, make: Make, options: dict[str, Any]) -> Tensor:
    """For the kernels: the table of texts, and under it the mask of a text where that is not plain causal.

    It is one tensor, for whatever lies between here and attention hands on tensors only, also when
    activations are recomputed: (1, 1, T, W) int64, or (1, 1, T + W, W) int32 with the mask.
    """
    texts, mask = now.laid.texts, now.of_a_text(make, options, now.laid.longest_text)
    assert texts is not None
    if mask is None:
        return texts[None, None]
    return torch.cat([texts.int(), mask[0, 0].int()])[None, None]


def _dense_masks(now: Sharing, make: Make, options: dict[str, Any]) -> Tensor:
    """For eager attention: numbers to add, (B, 1, L, L)."""
    positions, segments = now.laid.positions, now.laid.segments
    assert positions is not None
    assert segments is not None
    mask = now.of_a_text(make, options, now.laid.ids.shape[1])
    in_text = mask[0, 0][positions[:, :, None], positions[:, None, :]][:, None]
    padded = (segments < 0)[:, None, :, None]  # these see the whole prompt, for they have to see something
    seen = visible(segments) & ((in_text == 0) | padded)
    return torch.zeros_like(in_text).masked_fill(~seen, torch.finfo(mask.dtype).min)


def _block_masks(now: Sharing, make: Make, options: dict[str, Any]) -> Any:
    """For FlexAttention: a block mask."""
    from torch.nn.attention.flex_attention import create_block_mask

    positions, segments = now.laid.positions, now.laid.segments
    assert positions is not None
    assert segments is not None
    in_text = options["mask_function"]
    if options.get("local_size") is not None:
        now.windows.add(int(options["local_size"]))

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_key = segments[row, key]
        mine = (query >= key) & ((of_key == 0) | (of_key == segments[row, query]))
        return mine & in_text(row, head, positions[row, query], positions[row, key])

    rows, length = segments.shape
    return create_block_mask(seen, rows, None, length, length, device=str(segments.device))


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


def _over_texts(attend: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    """`attend`, except that a mask of integers is taken for a table of T texts, as `_tables` makes it.

    Row t of the table holds which of the B * L tokens form text t.
    """

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
    ):
        if (
            not isinstance(attention_mask, Tensor)
            or attention_mask.dim() < 4
            or attention_mask.dtype not in (torch.int64, torch.int32)
        ):
            return attend(module, query, key, value, attention_mask, **options)
        options.pop("position_ids", None)  # flash kernels would look for packed texts in them
        texts, mask = attention_mask[0, 0], None
        if texts.dtype == torch.int32:
            width = texts.shape[1]
            texts, mask = texts[:-width].long(), texts[-width:].bool()[None, None]
        copies = [_texts_of(states, texts) for states in (query, key, value)]
        out = attend(module, *copies, mask, **options)[0].flatten(0, 1)
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
