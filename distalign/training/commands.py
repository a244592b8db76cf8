"""Bodies of the command line's training commands; imported only when one of them runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.files import write_text
from distalign.progress import on_stderr
from distalign.training.recipe_file import located, read, shipped, summary

if TYPE_CHECKING:
    from distalign.training.loop import Summary
    from distalign.training.recipe import Recipe


def train(recipe: Recipe, run: Callable[..., Summary]) -> int:
    """Train by `run`, then print what was found on held-out data."""
    from distalign.training.parallel import joined_world

    with joined_world() as world:
        done = run(recipe, progress=True)
        if not world.main:
            return 0
        if done.evaluation:
            _metrics(done.held_out)
        peak = f", peak {done.peak_memory / 1e9:.2f} GB" if done.peak_memory else ""
        _say(f"{done.steps} updates, {done.tokens} tokens, {done.seconds:.0f} s{peak}; model in {done.model}")
    return 0


def data(source: str, model: str, rows: int, tokens: int, trust_remote_code: bool, **how: Any) -> int:
    """Print the first rows of data as tokens, what was read and left out, and how long they are."""
    from rich.console import Console
    from rich.text import Text

    from distalign.training.data.load import load_preferences
    from distalign.training.data.show import lengths_table, row_pieces
    from distalign.training.data.summary import facts, warnings
    from distalign.training.model.policy import tokenizer_of

    if rows < 0 or tokens < 2:
        raise InputError(f"rows must be at least 0 and tokens at least 2, got {rows} and {tokens}")
    tokenizer = tokenizer_of(model, trust_remote_code=trust_remote_code)
    with on_stderr():
        read = load_preferences(source, tokenizer, max_cut_share=1.0, progress=True, **how)
    console = Console(soft_wrap=True, highlight=False)
    for example in read.examples[:rows]:
        for title, pieces in row_pieces(example, tokenizer, tokens):
            console.print(Text(title, style="bold"))
            if console.is_terminal:
                coloured = [(piece.text, "green" if piece.scored else "dim") for piece in pieces]
                console.print(Text.assemble("  ", *coloured))
            else:
                console.print("  " + "".join(piece.marked() for piece in pieces), markup=False)
        console.print()
    for line in (*facts(read), *lengths_table(read), *(f"warning: {line}" for line in warnings(read))):
        console.print(line, markup=False)
    return 0


def recipes(action: str, name: str, to: str) -> int:
    """List, copy or check recipes."""
    if action == "ls":
        print_table(("recipe", "what it is"), [(n, summary(path)) for n, path in shipped().items()])
        return 0
    if not name:
        raise InputError(f"recipes {action} needs a recipe: `distalign recipes {action} smollm2_dpo`")
    path = located(name)
    if action == "cp":
        target = Path(to or f"{path.stem}.yaml")
        if target.exists():
            raise InputError(f"{target} exists: name another file, or remove it")
        write_text(target, path.read_text(encoding="utf-8"))
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
    model: str,
    data: str,
    reference: str | None,
    out: Path,
    objective: str,
    options: dict[str, Any],
    **how: Any,
) -> int:
    """Measure a model on held-out data, print the table, and say where tables and figures lie."""
    from distalign.training.evaluation import models

    if objective == "dpo" and "beta" not in options:
        _say(
            f"rewards use beta {models.BETA:g}; give --objective and its options, for instance --beta 0.05, "
            "to evaluate another run"
        )
    asked = {"reference": reference, "objective": objective, "options": options, "out": out}
    with on_stderr():
        found = models.evaluate(model, data, progress=True, **asked, **how)
    _metrics(found.table)
    for note in found.notes:
        _say(f"note: {note}")
    _say(f"tables and figures written to {out}; all of it on one page: {out / 'report.html'}")
    return 0


def generate(model: str, prompts: str, out: Path, **how: Any) -> int:
    """Draw responses to the prompts of a file, and say how many there are."""
    from distalign.training.evaluation import models

    with on_stderr():
        drawn = models.generate(model, prompts, out=out, progress=True, **how)
    _say(f"{len(drawn.rows)} responses to {len(drawn.prompts)} prompts in {out}")
    return 0


def merge(adapter: str, out: Path, trust_remote_code: bool) -> int:
    """Merge an adapter into its base, and say where the model is."""
    from distalign.training.merge import merge as merge_into

    with on_stderr():
        place = merge_into(adapter, out, trust_remote_code=trust_remote_code)
    _say(f"{adapter} merged into its base: {place}")
    return 0


def push(folder: str, name: str, **how: Any) -> int:
    """Push a trained model to the Hub, and say where it is."""
    from distalign.training.push import push as pushed_to

    with on_stderr():
        _say(f"{folder} pushed to {pushed_to(folder, name, say=_say, **how)}")
    return 0


def plan(recipe: str, overrides: dict[str, Any], gpu: str, devices: int, prompt_share: float) -> int:
    """Print what a recipe needs and what to turn where it does not fit; status 1 if it does not."""
    from distalign.training.memory import planning

    asked = read(recipe, overrides)
    found = planning.plan(asked, gpu=gpu, devices=devices, prompt_share=prompt_share)
    print_table(("part", "GB"), [(part, f"{size:.2f}") for part, size in found.table.to_numpy()])
    _say(
        f"{asked.model}: {found.model.parameters:,} parameters; peak {found.memory.total / 1e9:.1f} GB on "
        f"each of {devices} device{'s' * (devices > 1)}, {'fits' if found.fits else 'does NOT fit'} {gpu} "
        "(estimate)"
    )
    _say(
        f"an update costs {found.work.passes:g} forward passes ({found.work.how}), "
        f"{found.work.total / 1e12:.1f} TFLOP on each device"
    )
    if found.changes:
        print_table(
            ("turn", "saves GB", "then GB", "fits", "same result"),
            [
                (
                    ", ".join(f"{k}={v}" for k, v in change.values.items() if v is not None),
                    f"{change.saved / 1e9:.1f}",
                    f"{change.total / 1e9:.1f}",
                    "yes" if change.total <= found.limit else "no",
                    "yes" if change.same else "no",
                )
                for change in found.changes
            ],
        )
    return 0 if found.fits else 1


def _metrics(table: Any) -> None:
    print_table(
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


def print_table(columns: tuple[str, ...], rows: list) -> None:
    """A table as wide as the terminal, or 200 characters where there is none."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
