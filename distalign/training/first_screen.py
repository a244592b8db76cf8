"""The first screen of a run: what it trains, on what, from where, before the first update."""

from __future__ import annotations

from typing import Any

from distalign.progress import Voice
from distalign.training.course import Course
from distalign.training.data.summary import tell
from distalign.training.recipe import Recipe
from distalign.training.run import Run
from distalign.training.splits import Split


def tell_of_data(recipe: Recipe, training: Split, held_out: Split | None, say: Voice) -> None:
    """Say what was read, kept, left out and cut, and warn of what may not be meant."""
    files = [("data", recipe.train_data, training)]
    if held_out is not None and recipe.eval_data:
        files.append(("held-out data", recipe.eval_data, held_out))
    for name, source, split in files:
        tell(name, source, split.data, say)
    if held_out is not None and not recipe.eval_data:
        say(
            f"held out: {len(held_out.data.examples):,} of these, with the prompts that eval_fraction "
            f"{recipe.eval_fraction:g} keeps back; {len(training.data.examples):,} to train on"
        )


def tell_of_model(run: Run, say: Voice) -> None:
    """Say how many parameters are trained, in which precision, with which attention, and how long."""
    say(
        f"{model_line(run)}; prompts "
        f"{'computed once for their responses' if run.scorer.share_prompt else 'computed for each response'}"
    )
    processes = run.world.size
    say(
        f"training: {run.recipe.objective}, {run.total:,} updates of {run.training.batches.size:,} examples "
        f"on {processes} process{'es' * (processes > 1)}, "
        f"{run.total * run.training.batches.size / run.training.batches.usable:.3g} passes over the data; "
        f"output in {run.folder}"
    )


def model_line(run: Course[Any]) -> str:
    """How many parameters there are, how many are trained, in which precision, with which attention."""
    recipe, parameters = run.recipe, list(run.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    return (
        f"model: {recipe.model}: {total:,} parameters, {trained:,} trained ({100 * trained / total:.3g} %), "
        f"{recipe.dtype}; attention {recipe.attn_implementation}"
    )
