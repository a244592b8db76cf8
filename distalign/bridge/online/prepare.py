"""`train` of an online recipe, and its preparation: what is cheap to find wrong is looked at first."""

from __future__ import annotations

from typing import cast

from distalign.bridge.online.judges import judge_of
from distalign.bridge.online.run import OnlineRun
from distalign.bridge.online.texts import Prompts, read_prompts
from distalign.checks import InputError
from distalign.progress import Voice
from distalign.training.first_screen import model_line
from distalign.training.loop import Summary, run_to_its_end
from distalign.training.model.scorer import Scorer
from distalign.training.parallel import World
from distalign.training.prepare import (
    check_vocabulary,
    optimiser_of,
    policy_of,
    scorer_of,
    start_model,
    tokenizer_for,
)
from distalign.training.recipe import Recipe
from distalign.training.recipe_online import OnlineRecipe


def train(recipe: OnlineRecipe, *, progress: bool = True) -> Summary:
    """Train a causal language model on texts that it writes itself.

    Run the same recipe again after a kill and it goes on from the last good checkpoint, to the very weights
    it would have had.

    Args:
        recipe: what to train, for which reward or preference, how.
        progress: write lines to stderr, and on a terminal a bar.

    Raises:
        InputError: a mistake in recipe, prompts, reward or model, found before long work; several processes;
            a reward that is not finite or, in the first update, the same for all texts; a loss or gradient
            that is not finite (the state before it is saved); a full disk (the last checkpoint is intact).
    """
    if not isinstance(recipe, OnlineRecipe):
        raise InputError(
            f"objective {recipe.objective} without reward or preference is trained on given responses: call "
            "distalign.training.train, or give one of them"
        )
    return run_to_its_end(recipe, prepare, progress=progress)


def prepare(recipe: Recipe, world: World, say: Voice, progress: bool) -> OnlineRun:
    """Check, read prompts and reward, load the policy and, where all weights are trained, the reference.

    Raises:
        InputError: see `train`.
    """
    recipe = cast(OnlineRecipe, recipe)
    if world.size > 1:
        raise InputError(
            f"online training runs on one process, and torchrun started {world.size}: start it without "
            "torchrun; gradient_accumulation_steps make the global batch as large as you like"
        )
    tokenizer = tokenizer_for(recipe, progress)
    prompts, judge = read_prompts(recipe, tokenizer), judge_of(recipe)
    model, scorer, weights = policy_of(recipe, world, say)
    check_vocabulary(tokenizer, scorer)
    run = OnlineRun(
        recipe=recipe,
        world=world,
        tokenizer=tokenizer,
        model=model,
        scorer=scorer,
        weights=weights,
        total=_updates(recipe, prompts),
        optimiser=optimiser_of(recipe, model),
        prompts=prompts,
        judge=judge,
        reference=None if recipe.switches_off else _frozen(recipe, world, say),
        say=say,
    )
    _tell(run)
    return run


def _updates(recipe: OnlineRecipe, prompts: Prompts) -> int:
    if recipe.max_steps > 0:
        return recipe.max_steps
    return max(1, -int(-recipe.num_train_epochs * len(prompts.tokens) // recipe.batch_size))


def _frozen(recipe: OnlineRecipe, world: World, say: Voice) -> Scorer:
    """A second copy of the policy that stays as it is."""
    how = "with lora_rank" if recipe.adapter_reference is None else "with adapter_reference: base"
    say(f"reference: a second copy of the weights is kept in memory; {how} none is needed")
    model = start_model(recipe)
    if not recipe.load_in_4bit:  # bitsandbytes has placed its weights already
        model.to(world.device).eval()
    return scorer_of(recipe, model)


def _tell(run: OnlineRun) -> None:
    recipe = run.asked
    run.say(model_line(run))
    run.say(
        f"training: {recipe.objective} on {recipe.reward or recipe.preference}, {run.total:,} updates of "
        f"{run.size:,} prompts x {recipe.samples_per_prompt} texts of up to {recipe.max_new_tokens} "
        f"tokens, drawn at temperature 1; {len(run.prompts.tokens):,} prompts; output in {run.folder}"
    )
