"""`distalign train`: the flags of a recipe, on given responses or on texts of the policy's own."""

from __future__ import annotations

from distalign.training import flags
from distalign.training.subcommands import Options, Overrides, Recipe


def train(
    recipe: Recipe,
    /,
    *,
    overrides: Overrides,
    options: Options,
) -> int:
    """Fine-tune a language model by a recipe; run the same command again after a kill and it goes on.

    On given preferences, or, where the recipe names a reward or a preference, on texts that the model writes.

    For example:

        $ distalign train smollm2_dpo --train-data pairs.jsonl
        $ distalign train mine.yaml --learning-rate 1e-6
        $ distalign train smollm2_rlhf --train-data prompts.jsonl --reward sentiment

    Args:
        recipe: a YAML file, or a name that `distalign recipes ls` lists.
        overrides: replace values of the recipe.
        options: replace options of its objective.
    """
    from distalign.bridge import online
    from distalign.training import commands, loop
    from distalign.training.recipe_file import read

    asked = read(recipe, flags.given(overrides) | flags.given(options))
    return commands.train(asked, online.train if isinstance(asked, online.OnlineRecipe) else loop.train)
