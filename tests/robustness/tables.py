"""Rows of the tables of bad inputs, of hard instances, and of runs of two processes."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from distalign.checks import InputError
from tests.robustness.adversarial import instances, timed
from tests.robustness.documents import document_cases
from tests.robustness.formulas import formula_cases
from tests.robustness.generators import solver_cases
from tests.robustness.losses import metric_cases, objective_cases
from tests.robustness.stored import model_cases, stored_cases
from tests.robustness.verdicts import GOOD, LIMIT, VERDICTS, Case, sound, verdict

GENERATORS: dict[str, Callable[[], Iterator[Case]]] = {
    "solvers": solver_cases,
    "objectives": objective_cases,
    "metrics": metric_cases,
    "formulas": formula_cases,
    "documents": document_cases,
    "stored files": stored_cases,
    "files of models": model_cases,
}


def input_rows(count: int | None, seed: int, only: str) -> Iterator[dict[str, object]]:
    """How many calls of each package had each verdict, and each call whose verdict is not good."""
    for generator, cases in GENERATORS.items():
        if only not in ("", generator):
            continue
        yield from counted(generator, list(cases()), count, seed)


def counted(
    generator: str, drawn: list[Case], count: int | None, seed: int, limit: float = LIMIT
) -> Iterator[dict[str, object]]:
    """Verdicts of these cases, or of a sample of so many, by package; a case hangs after `limit` seconds."""
    if count is not None and count < len(drawn):
        drawn = random.Random(seed).sample(drawn, count)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    for case in drawn:
        began = time.perf_counter()
        kind, seen = verdict(case, limit)
        room = case.function.rpartition(".")[0] or case.function
        seconds[room] = max(seconds[room], time.perf_counter() - began)
        found[room][kind] += 1
        if kind not in GOOD:
            yield {"table": "found", "name": case.name, "case": seen[:200], "verdict": kind}
    for room, counted in found.items():
        for kind in VERDICTS:
            row = {
                "table": "inputs",
                "name": generator,
                "case": room,
                "verdict": kind,
                "count": counted[kind],
            }
            yield row | ({"seconds": round(seconds[room], 2)} if kind == "right" else {})


def solver_rows(seed: int = 0) -> Iterator[dict[str, object]]:
    """The slowest hard instance of each solver, and what came out."""
    slowest: dict[str, tuple[float, str, str]] = {}
    counted: Counter[str] = Counter()
    for name, call in instances(seed):
        found, seconds = timed(call)
        if isinstance(found, InputError):
            what = "sentence"
        elif isinstance(found, Exception):
            what = "traceback"
        else:
            what = "right" if sound(found) else "accepted"
        solver = name.split(",")[0].split(" ")[0]
        counted[solver] += 1
        slowest[solver] = max(slowest.get(solver, (-1.0, "", "")), (seconds, name, what))
        if what not in GOOD:
            yield {"table": "found", "name": name, "case": str(found)[:200], "verdict": what}
    for solver, (seconds, name, what) in slowest.items():
        row = {"table": "solver", "name": solver, "case": name, "verdict": what, "count": counted[solver]}
        yield row | {"seconds": round(seconds, 3)}


def pair_rows(folder: Path, count: int) -> Iterator[dict[str, object]]:
    """Runs of two processes, every second one sharded, in a row by the real command with data held out."""
    from tests.robustness.test_torchrun_command import torchrun

    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        parallel = ("ddp", "fsdp2")[number % 2]
        began = time.perf_counter()
        try:
            done = torchrun(place, "-m", "distalign", limit=1500, parallel=parallel)
            card = (place / "out/model/README.md").is_file() and (
                place / "out/evaluation/evaluation.csv"
            ).is_file()
            ends = (
                "whole"
                if done.returncode == 0 and card
                else f"status {done.returncode}: {done.stderr[-200:]}"
            )
        except subprocess.TimeoutExpired:
            ends = "hang"
        took = round(time.perf_counter() - began, 1)
        yield {"table": "pair", "name": parallel, "case": number, "verdict": ends, "seconds": took}
