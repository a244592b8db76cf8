"""The two splits of a run: the data it trains on, and the data it holds out where it holds any out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.files import write_whole
from distalign.objectives import declared
from distalign.training.data.batches import Batches, MicroBatch, padded_shares
from distalign.training.data.load import load_preferences
from distalign.training.data.mixture import mixture_of
from distalign.training.data.rows import PreferenceData, prompt_digest
from distalign.training.data.sources import require_source
from distalign.training.data.stored import SMALLEST, Packer, damage_of, key_of, read_splits_of, write_splits
from distalign.training.parallel import World
from distalign.training.recipe import Recipe, check_data, objective_of

_SMALLEST = SMALLEST
"""Fewer lines are read in seconds, and not stored."""


@dataclass
class Split:
    """One split: its data, their order and their reference log-probabilities.

    Attributes:
        data: the examples.
        batches: their order in training; of held-out data it only says how they are cut into micro-batches.
        reference: (n, 2) reference log-probabilities of chosen and rejected; empty until the reference has
            been scored.
    """

    data: PreferenceData
    batches: Batches
    reference: Tensor = field(default_factory=lambda: torch.zeros(0, 2))


def read_splits(
    recipe: Recipe,
    tokenizer: Any,
    world: World,
    progress: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Split, Split | None]:
    """Read what a recipe trains on, and what it holds out if it does.

    Large data are tokenised once and found again by later starts and other processes
    (`distalign.training.data.stored`).

    Raises:
        InputError: bad data, data that the objective cannot read, or fewer than a batch.
    """
    settings = {
        "max_length": recipe.max_length,
        "chat_template": recipe.chat_template,
        "max_prompt_length": recipe.max_prompt_length,
        "max_cut_share": recipe.max_cut_share,
        "assistant_only_loss": recipe.assistant_only_loss,
        "ranking_pairs": recipe.ranking_pairs,
        "skip_bad_rows": recipe.skip_bad_rows,
    }
    folder = Path(recipe.reference_cache or Path(recipe.output_dir) / "reference")

    def read(source: str, fraction: float = 0.0) -> list[PreferenceData]:
        def make() -> list[PreferenceData]:
            data = load_preferences(source, tokenizer, progress=progress, **settings)
            return [*split_held_out(data, fraction)] if fraction else [data]

        key = world.told(lambda: key_of(source, tokenizer, settings | {"eval_fraction": fraction}))
        return _stored_or_made(folder, key, make, world, say)

    for source in filter(None, (recipe.train_data, recipe.eval_data)):
        for name in mixture_of(source).sources:
            require_source(name)
    training, *rest = read(recipe.train_data, recipe.eval_fraction)
    held_out = rest[0] if rest else read(recipe.eval_data)[0] if recipe.eval_data else None
    check_data(recipe, training)
    if held_out is not None:
        check_data(replace(recipe, train_data=recipe.eval_data or recipe.train_data), held_out)
    return _training_split(recipe, training, world), None if held_out is None else _held_out_split(
        recipe, held_out
    )


def _stored_or_made(
    folder: Path,
    key: str | None,
    make: Callable[[], list[PreferenceData]],
    world: World,
    say: Callable[[str], object],
) -> list[PreferenceData]:
    """What `make` gives, from the file of this key where there is one; large data are written to it.

    Args:
        folder: of the files.
        key: of `key_of`; None where data cannot be named, and are made by each process.
        make: reads and tokenises.
        world: process 0 makes and writes for all.
        say: is told of a damaged file.
    """
    if key is None:
        return make()
    path, made = folder / f"{key}.tokens", []

    def there() -> bool:
        if path.exists():
            if (damage := damage_of(path)) is None:
                return True
            say(f"data: {path} is damaged ({damage}): tokenising anew")
        made.extend(make())
        if sum(len(data.examples) for data in made) < _SMALLEST:
            return False
        write_whole(path, lambda file: write_splits(file, made))
        made.clear()
        return True

    return read_splits_of(path) if world.told(there) else made or make()


def _training_split(recipe: Recipe, data: PreferenceData, world: World) -> Split:
    needs = ("chosen",) if declared(objective_of(recipe)).data == "chosen" else ("chosen", "rejected")
    options = _batch_options(recipe)
    return Split(
        data, Batches(data, recipe.batch_size * world.size, world=world.size, needs=needs, **options)
    )


def _held_out_split(recipe: Recipe, data: PreferenceData) -> Split:
    return Split(data, Batches(data, 1, needs=(), **_batch_options(recipe)))


def _batch_options(recipe: Recipe) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "token_budget": recipe.micro_batch_tokens,
        "share_prompt": bool(recipe.share_prompt),
        "micro_batch_size": recipe.per_device_train_batch_size,
    }


def split_held_out(data: PreferenceData, fraction: float) -> tuple[PreferenceData, PreferenceData]:
    """(training data, held-out data) that share no prompt.

    Which prompts are held out depends on their tokens only, not on the seed, the order of the lines or the
    other lines, up to the number that makes the fraction.

    Raises:
        InputError: there are too few prompts.
    """
    prompts = sorted({prompt_digest(e) for e in data.examples})
    count = round(fraction * len(prompts))
    if not 0 < count < len(prompts):
        raise InputError(
            f"eval_fraction {fraction} of {len(prompts)} prompts leaves nothing to "
            f"{'train on' if count else 'hold out'}: choose another fraction, or give eval_data"
        )
    held_out = set(prompts[:count])
    kept, back = Packer(data.groups), Packer(data.groups)
    for example in data.examples:
        (back if prompt_digest(example) in held_out else kept).extend([example])
    return kept.data(data.report, data.has_weights), back.data(data.report, data.has_weights)


def evaluation_shares(batches: Batches, processes: int) -> list[list[MicroBatch]]:
    """The micro-batches that each process evaluates: all data once, in order, a contiguous part for each."""
    n = len(batches.data.examples)
    bounds = [rank * n // processes for rank in range(processes + 1)]
    return padded_shares([batches.split(range(a, b)) for a, b in pairwise(bounds)])
