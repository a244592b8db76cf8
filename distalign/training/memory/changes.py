"""What to turn where a recipe does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from distalign.checks import InputError
from distalign.training.memory.geometry import Geometry
from distalign.training.memory.plan import memory
from distalign.training.recipe import Recipe

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Knob:
    """One change to a recipe: what it saves, and whether the trained model stays the same up to rounding."""

    change: dict[str, object]
    saved: float
    total: float
    same: bool


def knobs(recipe: Recipe, model: Geometry, *, devices: int = 1, prompt_share: float = 0.0) -> list[Knob]:
    """What to turn, those that leave the result alone first, each group by what it saves."""
    before = memory(recipe, model, devices=devices, prompt_share=prompt_share).total
    found = []
    for change, same in _changes(recipe, devices):
        after = memory(replace(recipe, **change), model, devices=devices, prompt_share=prompt_share).total  # type: ignore[arg-type]
        if after < before * 0.995:
            found.append(Knob(change, before - after, after, same))
    return sorted(found, key=lambda knob: (not knob.same, -knob.saved))


def _changes(recipe: Recipe, devices: int) -> list[tuple[dict[str, object], bool]]:
    size, no_budget = recipe.per_device_train_batch_size, {"micro_batch_tokens": None}
    out: list[tuple[dict[str, object], bool]] = [
        ({"gradient_checkpointing": True}, True),
        ({"share_prompt": True}, True),
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
    if not recipe.lora_rank:
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
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?)B?\s*", text.upper())
    if not found or not found[1].strip(".") or found[1].count(".") > 1 or not float(found[1]) > 0:
        raise InputError(f"--gpu must be a size such as 80GB or 141GB, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]
