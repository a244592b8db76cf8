"""Preparing a run: check the recipe, read the data, load the policy, score the reference.

The steps come in the order in which a mistake is cheapest to find: what the recipe alone shows, then what the
tokenizer and the data show, and only then the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.files import disk_trouble, held
from distalign.objectives import declared
from distalign.progress import Voice, on_terminal
from distalign.training.data.batches import MicroBatch, sides
from distalign.training.first_screen import tell_of_data, tell_of_model
from distalign.training.journal import check_tracker
from distalign.training.model.adapters import adapter_base, new_adapter
from distalign.training.model.digests import known_digest
from distalign.training.model.experts import check_router, experts_without_adapter
from distalign.training.model.load import load_model, weights_digest
from distalign.training.model.policy import tokenizer_of
from distalign.training.model.reference import ReferenceCache, reference_scores
from distalign.training.model.saved_adapter import SavedAdapter, adapter_to_train, check_scored, put_on
from distalign.training.model.scorer import Scorer
from distalign.training.model.shards import (
    Whole,
    empty_model,
    fill,
    measure,
    return_freed_memory,
    stored_digest,
    weightless,
)
from distalign.training.optimiser import MasterAdamW
from distalign.training.parallel import World, shard
from distalign.training.recipe import Recipe, objective_of
from distalign.training.run import Run
from distalign.training.splits import Split, read_splits

_AND = " and adapter "
_SMALL_BATCH = 8
"""Below so many examples the user is told what an objective that couples its batch turns into."""


def prepare(recipe: Recipe, world: World, say: Voice, progress: bool) -> Run:
    """Check, read, load, and score the reference.

    Raises:
        InputError: see `distalign.training.loop.train`.
    """
    tokenizer = tokenizer_for(recipe, progress)
    training, held_out = read_splits(recipe, tokenizer, world, progress and world.main, say)
    tell_of_data(recipe, training, held_out, say)
    _tell_of_a_small_batch(recipe, training, say)
    model, scorer, weights = policy_of(recipe, world, say)
    check_vocabulary(tokenizer, scorer)
    for split in (training, held_out):
        if split is not None and split.batches.share_prompt != scorer.share_prompt:
            split.batches = replace(split.batches, share_prompt=scorer.share_prompt)
    run = Run(
        recipe=recipe,
        world=world,
        objective=objective_of(recipe),
        training=training,
        held_out=held_out,
        tokenizer=tokenizer,
        model=model,
        scorer=scorer,
        weights=weights,
        total=recipe.max_steps
        if recipe.max_steps > 0
        else training.batches.steps_of(recipe.num_train_epochs),
        optimiser=optimiser_of(recipe, model),
    )
    tell_of_model(run, say)
    _score_reference(run, say, progress)
    return run


# -- before anything is read --


def tokenizer_for(recipe: Recipe, progress: bool) -> Any:
    """The recipe's tokenizer; before it is loaded the tracker is checked, and bars that nobody sees go off.

    Raises:
        InputError: the tracker's package is missing, the model is an adapter that cannot be trained on or
            whose reference is not said, or there is no such tokenizer.
    """
    check_tracker(recipe.report_to)
    adapter_of(recipe)
    if not (progress and on_terminal()):
        from transformers.utils import logging

        logging.disable_progress_bar()
    return tokenizer_of(recipe.model, trust_remote_code=recipe.trust_remote_code)


@contextmanager
def kept_to_this_run(folder: Path, world: World) -> Iterator[None]:
    """Make the output folder and keep it to this run, on process 0 for all.

    Raises:
        InputError: the folder cannot be made or written, or another run is writing to it.
    """
    with ExitStack() as stack:

        def take() -> None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                why = (disk_trouble(error) or (str(error),))[0]
                raise InputError(f"output_dir {folder} cannot be made: {why}; choose another") from error
            if not os.access(folder, os.W_OK):
                raise InputError(f"output_dir {folder} cannot be written: choose another")
            stack.enter_context(held(folder, "output_dir"))

        world.once(take)
        yield


def _tell_of_a_small_batch(recipe: Recipe, training: Split, say: Callable[[str], object]) -> None:
    alone = declared(objective_of(recipe)).alone
    if alone and training.batches.size < _SMALL_BATCH:
        say(
            f"{recipe.objective} couples its batch, and the global batch is {training.batches.size}: alone a "
            f"pair is {alone}; raise gradient_accumulation_steps, which costs no memory"
        )


# -- the policy --


def policy_of(recipe: Recipe, world: World, say: Callable[[str], object]) -> tuple[Any, Scorer, str]:
    """(model, its scorer, digest of what training starts from) of a recipe, to be trained.

    The digest is that of the model's weights, followed by that of the adapter where one is trained on.
    """
    adapter = adapter_of(recipe)
    if recipe.parallel == "fsdp2" and world.size > 1:
        try:
            return _shared_out(recipe, world, say)
        except Whole as why:
            say(f"model: parallel fsdp2, but each process first loads it whole, for {why}")
    model = base_model(recipe)
    check_router(model)
    weights = _digest(recipe, world, partial(weights_digest, model))
    if adapter is not None:
        weights = f"{weights}{_AND}{adapter.digest()}"
    model = _with_adapters(recipe, model, adapter, say)
    if not recipe.load_in_4bit:  # bitsandbytes has placed its weights already
        model.to(world.device)
    scorer = scorer_of(recipe, model)
    _tell_of_prompts(recipe, scorer, say)
    if recipe.parallel == "fsdp2" and world.size > 1:
        shard(scorer, world)
    return model, scorer, weights


def _shared_out(recipe: Recipe, world: World, say: Callable[[str], object]) -> tuple[Any, Scorer, str]:
    """The same, where each process reads only its rows of the weights.

    Raises:
        Whole: that is not possible.
    """
    if world.device.type == "cpu":
        return_freed_memory()
    model, stored = empty_model(
        recipe.model,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        trust_remote_code=recipe.trust_remote_code,
    )
    check_router(model)
    weights = _digest(recipe, world, partial(stored_digest, model, stored))
    with weightless(model):
        model = _with_adapters(recipe, model, None, say)
    scorer = scorer_of(recipe, model, share_prompt=False)
    shard(scorer, world)
    fill(scorer, stored, world.rank, world.device)
    measure(scorer, recipe.share_prompt)
    _tell_of_prompts(recipe, scorer, say)
    return model, scorer, weights


def _digest(recipe: Recipe, world: World, compute: Callable[[], str]) -> str:
    settings = {"dtype": recipe.dtype, "four_bit": recipe.load_in_4bit}
    folder = Path(recipe.reference_cache or Path(recipe.output_dir) / "reference")
    return known_digest(folder, adapter_base(recipe.model) or recipe.model, settings, compute, world)


def _with_adapters(
    recipe: Recipe, model: Any, adapter: SavedAdapter | None, say: Callable[[str], object]
) -> Any:
    """The model with what a recipe adds to it: recomputed activations, adapters."""
    if recipe.gradient_checkpointing:
        _recompute_activations(model)
    if adapter is not None:
        model = put_on(model, adapter, trained=True)
        check_scored(model, adapter)
        _tell_of_the_adapter(recipe, adapter, say)
    elif recipe.lora_rank:
        torch.manual_seed(recipe.seed)
        model = new_adapter(model, **recipe.new_adapter)
    if recipe.adapts and (without := experts_without_adapter(model)):
        say(without)
    return model.train() if recipe.gradient_checkpointing else model


def _tell_of_prompts(recipe: Recipe, scorer: Scorer, say: Callable[[str], object]) -> None:
    if recipe.share_prompt and (scorer.why_apart or scorer.shared_up_to):
        say(scorer.sharing)


def base_model(recipe: Recipe) -> Any:
    """The model that a recipe starts from, on the CPU unless it is quantised, without an adapter."""
    return load_model(
        adapter_base(recipe.model) or recipe.model,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        trust_remote_code=recipe.trust_remote_code,
        load_in_4bit=recipe.load_in_4bit,
    )


def check_vocabulary(tokenizer: Any, scorer: Scorer) -> None:
    """Raise where the tokenizer knows tokens that the model has no embedding of.

    Raises:
        InputError: it does, as where tokens were added that the base of an adapter lacks.
    """
    rows = scorer.causal.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens and the model embeddings of {rows}: tokens were "
            "added to it, so save the model with resized embeddings, or use the tokenizer of the base"
        )


def start_model(recipe: Recipe) -> Any:
    """The policy as it stands before the first update, frozen: the model, or the adapter on its base."""
    model, adapter = base_model(recipe), adapter_of(recipe)
    return model.requires_grad_(False) if adapter is None else put_on(model, adapter, trained=False)


def adapter_of(recipe: Recipe) -> SavedAdapter | None:
    """The adapter that a recipe goes on training, or None; what is raised is that of `adapter_to_train`."""
    return adapter_to_train(recipe.model, recipe.lora_rank, recipe.adapter_reference)


def _tell_of_the_adapter(recipe: Recipe, adapter: SavedAdapter, say: Callable[[str], object]) -> None:
    stands = recipe.adapter_reference == "adapter"
    say(
        f"adapter: training goes on from {adapter.folder}, on {adapter.base}; reference: "
        f"{'the adapter as it stands' if stands else f'{adapter.base} without the adapter'}"
    )
    if adapter.dropout:
        say(
            f"adapter: its lora_dropout {adapter.dropout:g} is off here and in what is saved, for two passes "
            "over the same rows have to agree"
        )


def scorer_of(recipe: Recipe, model: Any, **changes: Any) -> Scorer:
    """How a recipe takes log-probabilities from a model; `changes` go before the recipe's own settings."""
    twice = recipe.objective == "wdpo" and recipe.wdpo_method == "double_backward"
    settings = {
        "share_prompt": recipe.share_prompt,
        "fp32_logits": recipe.fp32_logits,
        "chunk_tokens": recipe.chunk_tokens,
        "head": "plain" if twice else "chunked",
    }
    return Scorer(model, **settings | changes)


def _recompute_activations(model: Any) -> None:
    # transformers renames this method: the older name goes, and 5.17 has no other
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def optimiser_of(recipe: Recipe, model: Any) -> MasterAdamW:
    """The recipe's optimiser of what is to be trained."""
    return MasterAdamW(
        model.named_parameters(),
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        eps=recipe.adam_epsilon,
        weight_decay=recipe.weight_decay,
    )


# -- the reference --


def reference_weights(recipe: Recipe, weights: str) -> str:
    """The part of the digest of a run's start that its reference depends on."""
    return weights.partition(_AND)[0] if recipe.switches_off else weights


def _score_reference(run: Run, say: Callable[[str], object], progress: bool) -> None:
    """Fill in the reference log-probabilities of both splits, before any update.

    The policy has not moved yet, so it is the reference; adapters are switched off all the same.
    """
    recipe = run.recipe
    key = {
        "weights": reference_weights(recipe, run.weights),
        "dtype": recipe.dtype,
        "fp32_logits": recipe.fp32_logits,
        "attention": recipe.attn_implementation,
        "four_bit": recipe.load_in_4bit,
    }
    cache = ReferenceCache(Path(recipe.reference_cache or run.folder / "reference"), key, say)
    with torch.no_grad(), run.scorer.reference() if recipe.switches_off else nullcontext():
        run.training.reference = reference_scores(
            run.training.data,
            run.training.batches,
            run.total,
            partial(run.score, run.training.data),
            cache,
            run.world,
            progress=progress,
        )
        if run.held_out is not None:
            run.held_out.reference = _held_out_reference(run, run.held_out, cache, progress)


def _held_out_reference(run: Run, split: Split, cache: ReferenceCache, progress: bool) -> Tensor:
    """(n, 2) reference log-probabilities as `reference_scores` gives them, in the layout of the evaluation.

    Held-out data are laid out here as they will be for the policy, so in half precision the rounding of the
    two cancels; and each distinct sequence is scored once, for the pairs of real data share most of their
    responses.
    """
    data = split.data
    table, scored = cache.load_everywhere(data, run.world)
    if not bool(scored.all()):
        whole = MicroBatch(tuple(range(len(data.examples))))
        for column, (examples, scores) in enumerate(zip(sides(data, whole), run.scores(data, progress))):
            table[examples, column] = scores.to(table)
        everything = torch.ones(len(data.examples), dtype=torch.bool)
        run.world.once(lambda: cache.store(data, table.cpu(), everything))
    return table.float()
