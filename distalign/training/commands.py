"""Bodies of the command line's training commands; imported only when one of them runs."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.training.recipe import Recipe, objective_of
from distalign.training.recipe_file import located, read, shipped, summary

if TYPE_CHECKING:
    from distalign.training.data.rows import PreferenceData
    from distalign.training.evaluation.samples import Samples
    from distalign.training.model.scorer import Scorer
    from distalign.training.model.scoring import Scores


def train(recipe: str, overrides: dict[str, Any]) -> int:
    """Train, then print what was found on held-out data."""
    import pandas as pd

    from distalign.training.loop import train as run

    done = run(read(recipe, overrides), progress=True)
    if done.evaluation:
        _metrics(pd.read_csv(done.output_dir / "evaluation" / "evaluation.csv"))
    _say(
        f"{done.steps} updates, {done.tokens} tokens, {done.seconds:.0f} s, peak "
        f"{done.peak_memory / 1e9:.2f} GB; model in {done.model}"
    )
    return 0


def recipes(action: str, name: str, to: str) -> int:
    """List, copy or check recipes."""
    if action == "ls":
        _table(("recipe", "what it is"), [(n, summary(path)) for n, path in shipped().items()])
        return 0
    if not name:
        raise InputError(f"recipes {action} needs a recipe: `distalign recipes {action} smollm2_dpo`")
    path = located(name)
    if action == "cp":
        target = Path(to or f"{path.stem}.yaml")
        if target.exists():
            raise InputError(f"{target} exists: name another file, or remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
        _say(f"{target} written: edit it, then `distalign train {target}`")
        return 0
    recipe = read(path)
    missing = [
        str(p)
        for p in (recipe.train_data, recipe.eval_data)
        if p and p.endswith((".jsonl", ".csv", ".parquet")) and not Path(p).is_file()
    ]
    _say(
        f"{path} is valid: {recipe.objective}, {recipe.batch_size} examples an update on one process"
        + (f"; not there yet: {', '.join(missing)}" if missing else "")
    )
    return 0


def evaluate(
    model: str, data: str, reference: str | None, out: Path, recipe: Recipe, samples: int, resamples: int
) -> int:
    """Score held-out data under a policy and its reference, write tables and figures, print the table."""
    from distalign.training.data.load import load_preferences
    from distalign.training.evaluation.evaluate import evaluation, held_out
    from distalign.training.evaluation.report import write
    from distalign.training.model.adapters import adapter_base
    from distalign.training.model.policy import tokenizer_of
    from distalign.training.recipe import check_data

    if reference is None and adapter_base(model) is None:
        raise InputError(
            f"{model} is no adapter, so its reference is not known: give --reference MODEL, the model that "
            "training started from"
        )
    tokenizer = tokenizer_of(model, trust_remote_code=recipe.trust_remote_code)
    held = load_preferences(
        data,
        tokenizer,
        max_length=recipe.max_length,
        max_prompt_length=recipe.max_prompt_length,
        chat_template=recipe.chat_template,
        skip_bad_rows=recipe.skip_bad_rows,
    )
    check_data(recipe, held)
    policy, base, drawn = _score_both(model, reference, held, tokenizer, recipe, samples)
    objective = objective_of(recipe)
    result = evaluation(
        held_out(held, policy, base, objective),
        objective,
        samples=drawn,
        resamples=resamples,
        seed=recipe.seed,
    )
    write(result, out, f"{Path(model).name} on {Path(data).name}. ")
    _metrics(result.table)
    for note in result.notes:
        _say(f"note: {note}")
    _say(f"tables and figures written to {out}")
    return 0


def _score_both(
    model: str, reference: str | None, held: PreferenceData, tokenizer: Any, recipe: Recipe, samples: int
) -> tuple[Scores, Scores, Samples | None]:
    """(scores of the policy, of its reference, samples of the policy scored under both).

    Two models are never in memory at once.
    """
    import torch

    from distalign.training.evaluation.generate import generate
    from distalign.training.model.policy import load_policy
    from distalign.training.model.scoring import score_examples

    load = partial(
        load_policy,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        trust_remote_code=recipe.trust_remote_code,
    )
    scorer = load(model)
    policy = score_examples(scorer, held.examples, progress=True)
    prompts = list(dict.fromkeys(e.prompt for e in held.examples))[:samples]
    sampling: dict[str, Any] = {"samples_per_prompt": 4, "max_new_tokens": 128, "seed": recipe.seed}
    drawn = generate(scorer, tokenizer, prompts, **sampling, progress=True) if prompts else None
    if reference is not None:
        del scorer
        torch.cuda.empty_cache()
        scorer = load(reference)
    with scorer.reference() if reference is None else nullcontext():
        base = score_examples(scorer, held.examples, progress=True)
        return policy, base, drawn and _with_reference(scorer, drawn)


def _with_reference(scorer: Scorer, drawn: Samples) -> Samples:
    """Samples with their log-probabilities under the reference."""
    from distalign.training.evaluation.generate import scored
    from distalign.training.evaluation.samples import Samples

    return Samples(tuple(scored(scorer, drawn.rows, "ref_log_prob")), drawn.settings)


def generate(
    model: str,
    prompts: str,
    out: Path,
    reference: str | None,
    chat_template: bool | None,
    dtype: str,
    options: dict[str, Any],
) -> int:
    """Draw responses to the prompts of a file."""
    from distalign.training.evaluation import generate as sampling
    from distalign.training.evaluation.prompts import prompts_of, tokenised
    from distalign.training.evaluation.samples import write_samples
    from distalign.training.model.adapters import adapter_base
    from distalign.training.model.policy import load_policy, tokenizer_of

    texts = prompts_of(prompts)
    tokenizer = tokenizer_of(model)
    tokens = [tokenised(tokenizer, text, chat_template) for text in texts]
    adapter, scorer = adapter_base(model) is not None, load_policy(model, dtype=dtype)
    drawn = sampling.generate(
        scorer,
        tokenizer,
        tokens,
        reference=adapter and reference is None,
        out=out,
        settings={"model": model, "source": prompts, "dtype": dtype},
        progress=True,
        **options,
    )
    if reference is not None:
        del scorer
        write_samples(_with_reference(load_policy(reference, dtype=dtype), drawn), out)
    _say(f"{len(drawn.rows)} responses to {len(texts)} prompts in {out}")
    return 0


def plan(recipe: str, overrides: dict[str, Any], gpu: str, devices: int, prompt_share: float) -> int:
    """Print what a recipe needs and what to turn where it does not fit; status 1 if it does not."""
    from distalign.training.memory.changes import bytes_of, knobs
    from distalign.training.memory.geometry import geometry_of
    from distalign.training.memory.plan import memory, work

    limit, read_recipe = bytes_of(gpu), read(recipe, overrides)
    if devices < 1 or not 0 <= prompt_share < 1:
        raise InputError(
            f"--devices must be at least 1 and --prompt_share lie in [0, 1), got {devices} and {prompt_share}"
        )
    model = geometry_of(read_recipe.model, trust_remote_code=read_recipe.trust_remote_code)
    need = memory(read_recipe, model, devices=devices, prompt_share=prompt_share)
    _table(("part", "GB"), [(name, f"{size / 1e9:.2f}") for name, size in need.parts().items() if size])
    fits = need.total <= limit
    _say(
        f"{read_recipe.model}: {model.parameters:,} parameters; peak {need.total / 1e9:.1f} GB on each of "
        f"{devices} device{'s' * (devices > 1)}, {'fits' if fits else 'does NOT fit'} {gpu} (estimate)"
    )
    cost = work(read_recipe, model, prompt_share=prompt_share)
    _say(
        f"an update costs {cost.passes:g} forward passes ({cost.how}), {cost.total / 1e12:.1f} TFLOP on each "
        "device"
    )
    turned = knobs(read_recipe, model, devices=devices, prompt_share=prompt_share)
    if turned:
        _table(
            ("turn", "saves GB", "then GB", "fits", "same result"),
            [
                (
                    ", ".join(f"{k}={v}" for k, v in knob.change.items() if v is not None),
                    f"{knob.saved / 1e9:.1f}",
                    f"{knob.total / 1e9:.1f}",
                    "yes" if knob.total <= limit else "no",
                    "yes" if knob.same else "no",
                )
                for knob in turned
            ],
        )
    return 0 if fits else 1


def recipe_for_evaluation(
    model: str, data: str, objective: str, options: dict[str, Any], fields: dict[str, Any]
) -> Recipe:
    """A recipe that says how to read and score held-out data; DPO's beta is 0.1 unless given."""
    if objective == "dpo" and "beta" not in options:
        options = {"beta": 0.1, **options}
        _say(
            "rewards use beta 0.1; give --objective and its options, for instance --beta 0.05, to evaluate "
            "another run"
        )
    return Recipe(model=model, objective=objective, objective_options=options, train_data=data, **fields)


def _metrics(table: Any) -> None:
    _table(
        ("held-out metric", "value", "95 % interval", "n", "clusters"),
        [
            (
                r["metric"],
                f"{r['value']:.4g}",
                f"[{r['low_95']:.4g}, {r['high_95']:.4g}]",
                r["n"],
                r["clusters"],
            )
            for r in table.to_dict("records")
        ],
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _table(columns: tuple[str, ...], rows: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
