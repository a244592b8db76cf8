"""Data for training and held-out data, in their order and with their reference log-probabilities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.objectives import declared
from distalign.training.data.batches import Batches, MicroBatch, even
from distalign.training.data.load import load_preferences
from distalign.training.data.rows import PreferenceData
from distalign.training.parallel import World
from distalign.training.recipe import Recipe, check_data, objective_of


@dataclass
class Part:
    """Data with their reference log-probabilities and, for training, their order."""

    data: PreferenceData
    batches: Batches
    reference: Tensor = field(default_factory=lambda: torch.zeros(0, 2))


def read_parts(recipe: Recipe, tokenizer: Any, world: World) -> tuple[Part, Part | None]:
    """Read what a recipe trains on, and what it holds out if it does.

    Raises:
        InputError: bad data, data that the objective cannot read, or fewer than a batch.
    """
    read = partial(
        load_preferences,
        tokenizer=tokenizer,
        max_length=recipe.max_length,
        chat_template=recipe.chat_template,
        max_prompt_length=recipe.max_prompt_length,
        skip_bad_rows=recipe.skip_bad_rows,
    )
    data = read(recipe.train_data)
    held = read(recipe.eval_data) if recipe.eval_data else None
    if recipe.eval_fraction:
        data, held = split_held_out(data, recipe.eval_fraction)
    check_data(recipe, data)
    needs = ("chosen",) if declared(objective_of(recipe)).data == "chosen" else ("chosen", "rejected")
    if held is not None:
        check_data(replace(recipe, train_data=recipe.eval_data or recipe.train_data), held)
    options: dict[str, Any] = {
        "world": world.size,
        "seed": recipe.seed,
        "token_budget": recipe.micro_batch_tokens,
        "share_prompt": recipe.share_prompt,
        "micro": recipe.per_device_train_batch_size,
    }
    order = Batches(data, recipe.batch_size * world.size, needs=needs, **options)
    if held is None:
        return Part(data, order), None
    options["world"] = 1
    return Part(data, order), Part(held, Batches(held, 1, needs=(), **options))


def split_held_out(data: PreferenceData, fraction: float) -> tuple[PreferenceData, PreferenceData]:
    """Data for training and held-out data that share no prompt.

    Which prompts are held out depends on their tokens only, not on the seed, the order of the lines or the
    other lines, up to the number that makes the fraction.

    Raises:
        InputError: there are too few prompts.
    """
    prompts = sorted(
        {e.prompt for e in data.examples}, key=lambda prompt: hashlib.sha256(repr(prompt).encode()).digest()
    )
    count = round(fraction * len(prompts))
    if not 0 < count < len(prompts):
        raise InputError(
            f"eval_fraction {fraction} of {len(prompts)} prompts leaves nothing to "
            f"{'train on' if count else 'hold out'}: choose another fraction, or give eval_data"
        )
    out = set(prompts[:count])
    parts = [[e for e in data.examples if (e.prompt in out) is side] for side in (False, True)]
    return tuple(PreferenceData.of(part, data.groups, data.report, data.has_weights) for part in parts)  # type: ignore[return-value]


def spread(batches: Batches, world: int) -> list[list[MicroBatch]]:
    """All data once, in order, in micro-batches for each process."""
    n = len(batches.data.examples)
    bounds = [rank * n // world for rank in range(world + 1)]
    return even([batches.split(range(a, b)) for a, b in pairwise(bounds)])
