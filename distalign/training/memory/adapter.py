"""The shape of what a recipe trains: a model, and whatever adapter it puts on it or goes on with."""

from __future__ import annotations

import math
from dataclasses import replace

from distalign.training.memory.geometry import (
    Adapter,
    Geometry,
    config_of,
    folded_in,
    geometry_of,
    without_memory,
)
from distalign.training.model.saved_adapter import SavedAdapter, adapter_to_train
from distalign.training.recipe import Recipe


def shape_of(recipe: Recipe) -> Geometry:
    """The shape of a recipe's model, with its adapter where a formula of the rank would not know it.

    No weights are read: of an adapter in a folder the header of its file is.

    Raises:
        InputError: the sizes of the model cannot be found out, or its adapter cannot be trained.
    """
    saved = adapter_to_train(recipe.model, recipe.lora_rank, recipe.adapter_reference)
    name = recipe.model if saved is None else saved.base
    shape = geometry_of(name, trust_remote_code=recipe.trust_remote_code)
    if saved is not None:
        return replace(shape, adapter=_of_folder(saved, recipe))
    if recipe.use_dora or recipe.lora_modules_to_save or recipe.lora_target_parameters:
        return replace(shape, adapter=_new(recipe))
    return shape


def _of_folder(saved: SavedAdapter, recipe: Recipe) -> Adapter:
    sizes = {name: math.prod(shape) for name, shape in saved.shapes().items()}
    parameters = sum(size for name, size in sizes.items() if "lora_" in name)
    folded, ends = 0, saved.config.get("target_parameters") or ()
    if ends:
        made = without_memory(config_of(saved.base, trust_remote_code=recipe.trust_remote_code), saved.base)
        named = made.named_parameters()
        folded = sum(p.numel() for path, p in named if any(f".{path}".endswith(f".{end}") for end in ends))
    return Adapter(
        parameters=parameters,
        copies=sum(sizes.values()) - parameters,
        rank=saved.rank,
        norms=bool(saved.config.get("use_dora")),
        folded=folded,
    )


def _new(recipe: Recipe) -> Adapter:
    import torch

    from distalign.training.model.adapters import new_adapter

    made = without_memory(config_of(recipe.model, trust_remote_code=recipe.trust_remote_code), recipe.model)
    with torch.device("meta"):
        adapted = new_adapter(made, **recipe.new_adapter)
    trained = {name: p.numel() for name, p in adapted.named_parameters() if p.requires_grad}
    parameters = sum(size for name, size in trained.items() if "lora_" in name)
    return Adapter(
        parameters=parameters,
        copies=sum(trained.values()) - parameters,
        rank=recipe.lora_rank,
        norms=recipe.use_dora,
        folded=folded_in(adapted),
    )
