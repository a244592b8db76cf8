"""The command line: ls, show, verify, figure, simulate, cite; train, recipes, evaluate, plan, generate."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

import distalign
from distalign.bibliography import DISTALIGN, PAPERS
from distalign.checks import InputError
from distalign.claims import CLAIMS, Claim, claims
from distalign.training.subcommands import evaluate, generate, plan, recipes, train

Slugs = Positional[tuple[str, ...]]
AsJson = Annotated[bool, arg(name="json")]


def ls(*, as_json: AsJson = False) -> int:
    """List the claims: slug, paper, statement, kind.

    Args:
        as_json: print JSON instead of a table.
    """
    if as_json:
        return _print_json([_described(c) for c in CLAIMS])
    _print_table(("slug", "paper", "kind", "statement"), [(c.slug, c.paper, c.kind, c.statement) for c in CLAIMS])
    return 0


def show(slug: Positional[str], /, *, as_json: AsJson = False) -> int:
    """Show one claim: what is tested, by which code, and what it may say.

    Args:
        slug: the claim.
        as_json: print JSON instead of text.
    """
    (claim,) = claims((slug,))
    if as_json:
        return _print_json(_described(claim))
    for name, value in _described(claim).items():
        print(f"{name:12s} {value}")
    return 0


def verify(slugs: Slugs = (), /, *, preset: Literal["quick", "full"] = "quick", out: Path = Path("out/verify"),
           workers: int = 0, backend: str = "loky", shard: str = "", seed: int = 0,
           as_json: AsJson = False) -> int:
    """Run claims with their negative controls, print the ledger, write tables and figures.

    Exit status: 0 if every verdict is as its claim expects, 1 otherwise, 2 for bad input. A run that was killed goes on
    where it stopped when the same command is given again.

    Args:
        slugs: claims to run; none means all.
        preset: `quick` is for a newcomer and CI, `full` is what is committed.
        out: folder for rows, tables, figures and the ledger.
        workers: processes; 0 means one a core. Results do not depend on it.
        backend: loky, or dask for a cluster (needs the extra `dask`).
        shard: `i/N` runs every N-th cell only; run all shards into the same --out, then once without --shard.
        seed: root seed.
        as_json: print the ledger as JSON.
    """
    from distalign.simulation import ledger, sweep

    chosen = claims(slugs)
    plan = ledger.plan(chosen, preset, seed)
    cells = [cell for listed in plan.values() for cell in listed]
    index, count = _shard(shard)
    workers = _workers(workers)
    seconds = sum(c.seconds[preset] for c in chosen) / workers / count
    _say(f"{len(chosen)} claims, preset {preset}: {len(cells[index::count])} cells, about {_time(seconds)} on {workers} "
         f"worker{'s' * (workers > 1)}; finished cells in {out} are reused")
    sweep.run(cells[index::count], out / "cells", workers=workers, backend=backend)
    if count > 1:
        _say(f"shard {shard} is done: when all {count} are in {out}, run the same command without --shard")
        return 0
    entries = [ledger.entry(c, plan[c.slug], out / "cells") for c in chosen]
    ledger.write(entries, out, preset, seed)
    if as_json:
        print(ledger.to_json(entries), end="")
    else:
        _print_ledger(entries)
        _say(f"tables, figures and {out / 'ledger.csv'} written")
    return 0 if all(e.as_expected for e in entries) else 1


def figure(slug: Positional[str], /, *, table: Path | None = None, out: Path = Path("out/figures")) -> int:
    """Draw a claim's figure from a table: no computation.

    Args:
        slug: the claim.
        table: CSV to draw; by default the committed one, else that of out/verify.
        out: folder for pdf, png, csv and caption.
    """
    import pandas as pd

    from distalign.figures import committed, drawing, save

    (claim,) = claims((slug,))
    draw = drawing(slug)
    path = table or next((p for p in (committed(slug), Path(f"out/verify/tables/{slug}.csv")) if p.is_file()), None)
    if path is None or not path.is_file():
        raise InputError(f"no table to draw {slug} from: run `distalign verify {slug}` first, or give --table FILE")
    data = pd.read_csv(path)
    note = path.parents[1] / "figures" / f"{slug}.txt"
    save(draw(data), out / slug, note.read_text().strip() if note.is_file() else f"{slug}. {claim.prediction}", data)
    _say(f"{out / slug}.pdf, .png, .csv and .txt written from {path}")
    return 0


def simulate(*, votes: Path, items: Path | None = None, topic: str | None = None, out: Path = Path("out/simulate"),
             kl_budget: float = 1.0, bootstrap: int = 200, seed: int = 0,
             as_json: AsJson = False) -> int:
    """Fit Bradley-Terry users to real votes and compare alignment methods under the fitted population.

    Semi-synthetic: the population is calibrated on the votes, its true utilities are not observed.

    Args:
        votes: CSV (or .csv.gz) with columns user, first, second, vote (first, second or equal).
        items: CSV with the texts of the items; optional.
        topic: keep only votes whose column `topic` has this value.
        out: folder for tables, figure and report.
        kl_budget: radius in nats of the KL ball around the uniform reference policy.
        bootstrap: resamples of the users behind the intervals.
        seed: seed of the bootstrap and of the folds.
        as_json: print the table as JSON.
    """
    from distalign.simulation.simulate_votes import run_simulation

    table = run_simulation(votes, out, items, topic, kl_budget=kl_budget, bootstrap=bootstrap, seed=seed)
    if as_json:
        print(table.to_json(orient="records", indent=1))
    else:
        shown = {"method": "method", "kl": "KL (nats)", "average_utility": "average utility",
                 "tenth_percentile": "tenth percentile", "distortion": "distortion", "certified": "certified"}
        _print_table(shown.values(), [[f"{v:.4f}" if isinstance(v, float) else v for v in row]
                                      for row in table[list(shown)].to_numpy()])
        _say(f"tables, figure and report written to {out}")
    return 0


def cite(slugs: Slugs = (), /) -> int:
    """Print BibTeX for distalign and for the papers behind the claims named, or for all.

    Args:
        slugs: claims; none means all.
    """
    wanted = {p.key for c in claims(slugs) for p in c.papers} if slugs else {p.key for p in PAPERS}
    print("\n\n".join([DISTALIGN, *(p.bibtex() for p in PAPERS if p.key in wanted)]))
    return 0


def main() -> None:
    """Run the command line; a user's mistake is one sentence and status 2."""
    commands = {f.__name__: f for f in (ls, show, verify, figure, simulate, cite, train, recipes, evaluate, plan, generate)}
    if sys.argv[1:] == ["--version"]:
        print(f"distalign {distalign.__version__}")
        sys.exit(0)
    try:
        sys.exit(tyro.extras.subcommand_cli_from_dict(commands, prog="distalign", description=distalign.__doc__))
    except InputError as error:
        print(f"distalign: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _described(claim: Claim) -> dict[str, object]:
    listed = {k: v for k, v in asdict(claim).items() if k != "presets"}
    return {**listed, "study": claim.study, "cite": [p.key for p in claim.papers], "presets": claim.presets}


def _shard(text: str) -> tuple[int, int]:
    if not text:
        return 0, 1
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise InputError(f"--shard must be i/N with 0 <= i < N, got {text!r}: for two machines use 0/2 and 1/2")
    return int(index), int(count)


def _workers(asked: int) -> int:
    if asked < 0:
        raise InputError(f"--workers must be 0 (one a core) or more, got {asked}")
    return asked or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else asked or os.cpu_count() or 1


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=1))
    return 0


def _print_ledger(entries: list) -> None:
    from distalign.simulation import ledger

    rows = []
    for _, r in ledger.frame(entries).iterrows():
        rows.append((r.slug, r.kind, r.verdict, f"{r.check}: {ledger.number(r)}", r.control, "yes" if r.as_expected else "NO"))
    _print_table(("slug", "kind", "verdict", "number behind it", "negative control", "as expected"), rows)


def _print_table(columns: object, rows: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)  # type: ignore[misc]
    for row in rows:
        table.add_row(*map(str, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


if __name__ == "__main__":
    main()
