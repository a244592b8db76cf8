"""Rotary position embeddings that depend on the length of the longest text beside a token.

In the usual rotary embedding the angle of a token depends on its own position alone. In some models of
transformers it depends on the largest position of the whole tensor, too: longrope (Phi-3) has one set of
frequencies for texts up to the length N of pretraining and another for longer ones, and dynamic NTK scaling
has other frequencies for every length above N. There the score of a short text would change with its
neighbours in the micro-batch. Whether a model is of this kind, and N, is measured on its rotary modules
alone, which are cheap to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_FAR = 2**22
"""A position beyond every threshold."""


@dataclass(frozen=True)
class LengthClasses:
    """How the angles of a model depend on the longest text.

    Attributes:
        threshold: N, the longest text of the first class.
        two: whether all longer texts are of one class; otherwise each length has angles of its own.
    """

    threshold: int
    two: bool


def length_classes(causal: Any) -> LengthClasses | None:
    """The classes of a model, or None where every token's angle depends on its own position alone."""
    found = [
        classes
        for module in causal.modules()
        if any("inv_freq" in name for name, _ in module.named_buffers(recurse=False))
        for kind in _kinds(module)
        if (classes := _classes(module, kind)) is not None
    ]
    if not found:
        return None
    threshold = min(classes.threshold for classes in found)
    return LengthClasses(threshold, all(c.two and c.threshold == threshold for c in found))


def _kinds(module: Any) -> list[dict[str, Any]]:
    types = getattr(module, "rope_type", None)
    return [{"layer_type": name} for name in types] if isinstance(types, dict) else [{}]


def _classes(module: Any, kind: dict[str, Any]) -> LengthClasses | None:
    device = next(module.buffers()).device

    def angles(longest: int) -> Tensor | None:
        """Of the first four positions, beside a token at position `longest` - 1."""
        positions = torch.tensor([[0, 1, 2, 3, longest - 1]], device=device)
        try:
            with torch.no_grad():
                out = module(torch.zeros(1, 1, 1, device=device), positions, **kind)
        except (TypeError, RuntimeError, ValueError, IndexError, AttributeError, KeyError):
            return None  # another kind of module: it gets no positions, so none of their largest
        out = out[0] if isinstance(out, tuple) else out
        return out[:, :4].clone() if isinstance(out, Tensor) and out.dim() > 2 and out.shape[1] == 5 else None

    short, far = angles(5), angles(_FAR)
    if short is None or far is None or torch.equal(short, far):
        return None
    low, high = 5, _FAR  # angles are those of short texts at low, and others at high
    while high - low > 1:
        middle = (low + high) // 2
        angles(5)  # dynamic scaling remembers the longest text until it meets a short one
        now = angles(middle)
        low, high = (middle, high) if now is not None and torch.equal(now, short) else (low, middle)
    angles(5)
    just_above = angles(high)
    two = just_above is not None and torch.equal(just_above, far)
    angles(5)
    return LengthClasses(low, two)
