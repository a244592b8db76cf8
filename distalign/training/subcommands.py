"""Flags of the command line's training commands.

What the commands do is in `distalign.training.commands`, which is imported when one of them runs. Flags that
stand for fields of a recipe and for options of an objective are made when a command that has them is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from distalign.checks import InputError, whole
from distalign.training import flags

Recipe = Positional[str]
Overrides = Annotated[Any, arg(name="", constructor_factory=flags.grouped)]
Options = Annotated[Any, arg(name="objective", constructor_factory=flags.options)]


def data(
    source: Positional[str],
    /,
    *,
    model: str,
    rows: int = 3,
    tokens: int = 240,
    max_length: int = 1024,
    max_prompt_length: int | None = None,
    chat_template: flags.PerhapsSwitch = None,
    assistant_only_loss: flags.Switch = True,
    ranking_pairs: Literal["all", "best_worst"] = "all",
    skip_bad_rows: flags.Switch = False,
    trust_remote_code: flags.Switch = False,
) -> int:
    """Show data as the model will see them: tokens of the first rows, what is scored, counts and lengths.

    What is scored is in colour on a terminal, and in [[double brackets]] elsewhere.

    For example:

        $ distalign data pairs.jsonl --model path/to/model

    Args:
        source: file, folder, Hub data set or mixture that train reads.
        model: folder or Hub id of the model whose tokenizer and chat template are used.
        rows: examples to show.
        tokens: most tokens of one text to show; of longer ones the beginning and the end.
        max_length: tokens of prompt and completion.
        max_prompt_length: tokens of the prompt.
        chat_template: apply the tokenizer's chat template; none means where the data are messages.
        assistant_only_loss: score only the assistant's messages of a completion with several turns.
        ranking_pairs: pairs made of K ranked responses: all that differ in rank, or the best and the worst.
        skip_bad_rows: drop and count malformed rows.
        trust_remote_code: run code that comes with the tokenizer.
    """
    from distalign.training import commands

    return commands.data(
        source,
        model,
        rows,
        tokens,
        trust_remote_code,
        max_length=max_length,
        max_prompt_length=max_prompt_length,
        chat_template=chat_template,
        assistant_only_loss=assistant_only_loss,
        ranking_pairs=ranking_pairs,
        skip_bad_rows=skip_bad_rows,
    )


def recipes(
    action: Positional[Literal["ls", "cp", "validate"]],
    name: Positional[str] = "",
    to: Positional[str] = "",
    /,
) -> int:
    """List the recipes, copy one to edit it, or check one.

    For example:

        $ distalign recipes ls
        $ distalign recipes cp smollm2_dpo mine.yaml

    Args:
        action: ls, cp RECIPE [FILE] or validate RECIPE.
        name: a name of the list, or a file.
        to: where cp writes; RECIPE.yaml in this folder unless given.
    """
    from distalign.training import commands

    return commands.recipes(action, name, to)


def evaluate(
    model: Positional[str],
    /,
    *,
    data: str,
    reference: str | None = None,
    out: Path = Path("out/evaluate"),
    objective: str = "dpo",
    options: Options,
    samples: int = 0,
    resamples: int = 200,
    max_length: int = 1024,
    max_prompt_length: int | None = None,
    max_cut_share: float = 0.2,
    chat_template: flags.PerhapsSwitch = None,
    assistant_only_loss: flags.Switch = True,
    ranking_pairs: Literal["all", "best_worst"] = "all",
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    skip_bad_rows: flags.Switch = False,
    seed: int = 0,
) -> int:
    """Measure a model on held-out preferences: accuracy, dominance, calibration, length control, diagnostics;
    with intervals.

    For example:

        $ distalign evaluate out/train/mine/model --data held_out.jsonl

    Args:
        model: folder or Hub id of a model, or folder of an adapter.
        data: held-out preferences, in the formats that train reads.
        reference: model that training started from; needed where the folder has no card of distalign, which
            names it, and is no adapter.
        out: folder for tables and figures.
        objective: what the model was trained by.
        options: options of the objective.
        samples: prompts of the data to sample 4 responses from, for entropy, diversity and the divergence to
            the reference.
        resamples: of the bootstrap behind the intervals.
        max_length: tokens of prompt and completion.
        max_prompt_length: tokens of the prompt.
        max_cut_share: largest share of completions that max_length may cut.
        chat_template: apply the tokenizer's chat template; none means where the data are messages.
        assistant_only_loss: score only the assistant's messages of a completion with several turns.
        ranking_pairs: pairs made of K ranked responses: all that differ in rank, or the best and the worst.
        dtype: precision.
        skip_bad_rows: drop and count malformed rows.
        seed: of sampling and bootstrap.
    """
    from distalign.training import commands

    return commands.evaluate(
        model,
        data,
        reference,
        out,
        objective,
        flags.given(options),
        samples=samples,
        resamples=resamples,
        max_length=max_length,
        max_prompt_length=max_prompt_length,
        max_cut_share=max_cut_share,
        chat_template=chat_template,
        assistant_only_loss=assistant_only_loss,
        ranking_pairs=ranking_pairs,
        dtype=dtype,
        skip_bad_rows=skip_bad_rows,
        seed=seed,
    )


def merge(
    adapter: Positional[str],
    /,
    *,
    out: Path,
    trust_remote_code: flags.Switch = False,
) -> int:
    """Write the full model that an adapter and its base make, which transformers loads without peft.

    For example:

        $ distalign merge out/train/mine/model --out out/merged

    Args:
        adapter: folder of an adapter.
        out: folder to write; it must not hold anything else.
        trust_remote_code: run code that comes with the base.
    """
    from distalign.training import commands

    return commands.merge(adapter, out, trust_remote_code)


def push(
    folder: Positional[str],
    name: Positional[str],
    /,
    *,
    public: flags.Switch = False,
    base_model: str | None = None,
    license: str | None = None,
) -> int:
    """Push a trained or merged model, or an adapter, to the Hub with its card; a new repository is private.

    Only files of model and tokenizer go there, and the card names no path of this machine.

    For example:

        $ distalign push out/train/mine/model owner/name

    Args:
        folder: folder of a finished run, of its model, or of a merged model.
        name: repository on the Hub.
        public: make it public where it is made, and push to one that is.
        base_model: name on the Hub of the model that was trained, where training read it from a folder.
        license: licence to name in the card, as the Hub calls it, for instance apache-2.0; none is guessed.
    """
    from distalign.training import commands

    return commands.push(folder, name, public=public, base_model=base_model, license=license)


def plan(
    recipe: Recipe,
    /,
    *,
    gpu: str = "80GB",
    devices: int = 1,
    prompt_share: float = 0.0,
    overrides: Overrides,
    options: Options,
) -> int:
    """Say what a recipe needs in memory and work, before anything is downloaded. Exit status: 0 if it fits, 1
    if not.

    For example:

        $ distalign plan llama31_8b_kldpo_lora --gpu 141GB

    Args:
        recipe: a YAML file, or a name that `distalign recipes ls` lists.
        gpu: memory of a device, for instance 80GB, 141GB or 16GiB.
        devices: how many; under parallel fsdp2 they share the states.
        prompt_share: share of prompt tokens in prompt and response; 0 is the worst case.
        overrides: replace values of the recipe.
        options: replace options of its objective.
    """
    from distalign.training import commands

    return commands.plan(recipe, flags.given(overrides) | flags.given(options), gpu, devices, prompt_share)


def generate(
    model: Positional[str],
    /,
    *,
    prompts: str,
    out: Path,
    reference: str | None = None,
    samples_per_prompt: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    chat_template: flags.PerhapsSwitch = None,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    seed: int = 0,
) -> int:
    """Draw responses to prompts, with their log-probabilities; a run that was killed goes on where it
    stopped.

    For example:

        $ distalign generate path/to/model --prompts prompts.csv --out texts.jsonl

    Args:
        model: folder or Hub id of a model, or folder of an adapter.
        prompts: .jsonl, .csv or .parquet file with a column `prompt`.
        out: JSONL or Parquet file to write.
        reference: model whose log-probabilities are noted, too; an adapter needs none: its card names it, or
            else it is its base.
        samples_per_prompt: responses to each prompt.
        temperature: 0 takes the most probable token.
        top_p: share of probability kept at each token.
        max_new_tokens: of a response.
        batch_size: prompts drawn at once.
        chat_template: apply the tokenizer's chat template; none means where prompts are messages.
        dtype: precision.
        seed: of the sampling.
    """
    from distalign.training import commands

    whole("--seed", seed, 0, "any seed will do")
    if not out.name:
        raise InputError(f"--out {str(out)!r} names no file: give one that ends in .jsonl or .parquet")
    return commands.generate(
        model,
        prompts,
        out,
        reference=reference,
        samples_per_prompt=samples_per_prompt,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        chat_template=chat_template,
        dtype=dtype,
        seed=seed,
    )
