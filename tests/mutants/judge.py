"""Mutants judged one by one, each in a process of its own, and the file of what became of them."""

from __future__ import annotations

import csv
import gc
import importlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.mutants.changes import ROOT, Mutant, draw, module_of
from tests.mutants.reach import asked_of, claims_of, read_map

ROWS = ROOT / "docs/mutants.csv"
NAMED = ("seed", "file", "function", "line", "mutation")
COLUMNS = (*NAMED, "first", "killed_by", "commit", "reason")
CLAIM_SECONDS = 30.0  # allowed for one claim on the right code
MEMORY = 8 * 2**30  # bytes that the process of one mutant may take
IN_PARENT = ("cvxpy", "hypothesis", "ot", "peft", "transformers", "matplotlib.figure", "pytest")


def run(count: int, seed: int, rows: Path, budget: float, claims: int) -> None:
    """Judge the mutants of a draw that `rows` does not hold yet, and write one row each.

    `budget` are the seconds of tests, as they were when the map was made, that are spent on one mutant, and
    `claims` the number of claims that are tried on one that none of these tests kills.

    Raises:
        SystemExit: `rows` holds another draw.
    """
    known, done = read_map(), read_rows(rows) if rows.exists() else []
    mutants = _drawn(count, seed, done)
    commit = _prepare()
    for mutant in mutants[len(done) :]:
        by = killer(mutant, known, budget, claims)
        done.append(dict(zip(COLUMNS, (*named(mutant, seed), by, by, commit, ""), strict=True)))
        write_rows(rows, done)
        print(f"{len(done)}/{count} {' '.join(named(mutant, seed))} | {by or 'SURVIVED'}", flush=True)


def again(count: int, seed: int, rows: Path, budget: float, claims: int) -> None:
    """Judge the survivors without a reason once more, with the tests that the map holds now; `first` stays as
    it was.
    """
    known, done = read_map(), read_rows(rows)
    mutants = _drawn(count, seed, done)
    commit = _prepare()
    for mutant, row in zip(mutants, done, strict=True):
        if not row["killed_by"] and not row["reason"]:
            row["killed_by"], row["commit"] = killer(mutant, known, budget, claims), commit
            write_rows(rows, done)
            print(f"{' '.join(named(mutant, seed))} | {row['killed_by'] or 'SURVIVED'}", flush=True)


def sound(rows: Path) -> None:
    """Run every test that killed a mutant on the right code, in the same way.

    Raises:
        SystemExit: one of them fails there too, so that what it killed says nothing.
    """
    _prepare()
    tests = sorted({row["killed_by"] for row in read_rows(rows)} - {"", "timeout"})
    if wrong := judged(lambda: None, tests, 3600):
        raise SystemExit(f"{wrong} fails without a mutant, too")
    print(f"all {len(tests)} tests that killed a mutant pass without one")


def named(mutant: Mutant, seed: int) -> tuple[str, ...]:
    """What names a mutant in the rows."""
    return str(seed), mutant.file, mutant.function, str(mutant.line), mutant.mutation


def _drawn(count: int, seed: int, done: list[dict[str, str]]) -> list[Mutant]:
    mutants = draw(count, seed)
    for mutant, row in zip(mutants, done, strict=False):
        if named(mutant, seed) != tuple(row[c] for c in NAMED):
            raise SystemExit(
                f"{row} is not of this draw, or its file has changed: give another file to --rows"
            )
    return mutants


def read_rows(rows: Path) -> list[dict[str, str]]:
    """The rows, in the order of the draw."""
    with rows.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write all rows, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def killer(mutant: Mutant, known: dict[str, Any], budget: float, claims: int) -> str:
    """The first test that fails on a mutant, "timeout", or nothing."""
    tests, seconds = asked_of(mutant, known, budget)
    by = judged(mutant.plant, tests, seconds) if tests else ""
    for claim in [] if by else claims_of(mutant, claims):
        by = by or judged(mutant.plant, [claim], CLAIM_SECONDS)
    return by


def judged(plant: Callable[[], None], tests: list[str], seconds: float) -> str:
    """The first of some tests that fails after `plant`, "timeout", or nothing; in a forked process.

    The process may use twice the CPU `seconds` that its tests take on the right code, and 20 more.

    Raises:
        RuntimeError: the mutant could not be planted, or pytest could not run the tests.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        limit = int(2 * seconds) + 20
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        signal.alarm(10 * limit)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        os.write(write, _told(plant, tests).encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    told = "timeout" if os.WIFSIGNALED(status) else os.read(read, 10_000).decode()
    os.close(read)
    if told.startswith("error"):
        raise RuntimeError(told)
    return told


def _told(plant: Callable[[], None], tests: list[str]) -> str:
    import pytest

    try:
        plant()
    except Exception as error:
        return f"error: not planted: {error!r}"
    failed = _FirstFailure()
    options = ["-x", "-p", "no:cacheprovider", "-o", "addopts=--doctest-modules"]
    for warning in ("PytestAssertRewriteWarning", "PytestUnknownMarkWarning"):
        options += ["-W", f"ignore::pytest.{warning}"]
    try:
        code = pytest.main([*options, *tests], [failed])
    except BaseException as error:
        return f"{tests[-1]}: {error!r}"[:200]
    return failed.test or ("" if code == 0 else f"error: pytest ended with {code!r} on {tests[:3]}")


class _FirstFailure:
    """Plugin: the first test that fails, errors in its fixtures included."""

    test = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid


def _prepare() -> str:
    """Import what the tests need once, and have claims run in one process; the commit."""
    import torch

    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and they load for seconds
    os.sched_getaffinity = lambda pid: {0}  # so claims run in the process itself, where the mutant is
    for path in sorted((ROOT / "distalign").rglob("*.py")):
        if path.name != "__main__.py":
            module_of(str(path.relative_to(ROOT)))
    for name in IN_PARENT:
        importlib.import_module(name)
    gc.freeze()  # what is imported stays: searching it for garbage takes a second
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
