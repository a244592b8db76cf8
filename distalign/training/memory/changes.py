"""Changes to a recipe that does not fit into memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from distalign.checks import InputError
from distalign.training.memory.geometry import Geometry
from distalign.training.memory.plan import memory
from distalign.training.recipe import Recipe

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Change:
    """One change to a recipe that saves memory.

    Attributes:
        values: the fields that change, by name, with their new values.
        saved: bytes that it saves.
        total: bytes of the peak after it.
        same: whether the trained model stays the same up to rounding.
    """

    values: dict[str, object]
    saved: float
    total: float
    same: bool


def possible_changes(
    recipe: Recipe, model: Geometry, *, devices: int = 1, prompt_share: float = 0.0
) -> list[Change]:
    """Changes that save memory and leave the recipe valid.

    Those that do not change the result come first; among them, and among the rest, the largest saving comes
    first.
    """
    before = memory(recipe, model, devices=devices, prompt_share=prompt_share).total
    changes = []
    for values, same in _candidates(recipe, devices):
        changed = _changed(recipe, values)
        if changed is None:
            continue
        after = memory(changed, model, devices=devices, prompt_share=prompt_share).total
        if after < before * 0.995:
            changes.append(Change(values, before - after, after, same))
    return sorted(changes, key=lambda change: (not change.same, -change.saved))


def _changed(recipe: Recipe, values: dict[str, object]) -> Recipe | None:
    """The recipe with these values, or None where they make it invalid."""
    try:
        return replace(recipe, **values)  # type: ignore[arg-type]
    except InputError:
        return None


def _candidates(recipe: Recipe, devices: int) -> list[tuple[dict[str, object], bool]]:
    size, no_budget = recipe.per_device_train_batch_size, {"micro_batch_tokens": None}
    out: list[tuple[dict[str, object], bool]] = [
        ({"gradient_checkpointing": True}, True),
        ({"share_prompt": "auto"}, True),
        ({"chunk_tokens": 128}, True),
        (
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": recipe.batch_size, **no_budget},
            True,
        ),
        ({"share_prompt": False}, True),
        ({"max_length": max(2, recipe.max_length // 2), "max_prompt_length": None, **no_budget}, False),
    ]
    if size == 1 and recipe.micro_batch_tokens is None:
        out = [change for change in out if "per_device_train_batch_size" not in change[0]]
    if devices > 1 and recipe.parallel == "ddp":
        out.append(({"parallel": "fsdp2"}, True))
    if not recipe.adapts:
        out += [({"lora_rank": 16}, False), ({"lora_rank": 16, "load_in_4bit": True}, False)]
    elif not recipe.load_in_4bit:
        out.append(({"load_in_4bit": True}, False))
    if recipe.dtype == "float32":
        out.append(({"dtype": "bfloat16"}, False))
    return out


def bytes_of(text: str) -> float:
    """Bytes of `141GB` (powers of ten) or `80GiB` (powers of two).

    Raises:
        InputError: not such a size.

    Example:
        >>> bytes_of("141GB"), bytes_of("1.5 MiB")
        (141000000000.0, 1572864.0)
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?)B?\s*", text.upper())
    if not match or not match[1].strip(".") or match[1].count(".") > 1 or not float(match[1]) > 0:
        raise InputError(f"--gpu must be a size such as 80GB or 141GB, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]
