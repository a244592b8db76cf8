"""Timing of several roads to the same numbers: taken in turns, on one thread, in one process.

A piece of work has our road and rivals. A rival of kind "fair" was written by somebody who tries to win: a
closed form, a batched Newton method, a tuned call of a fast library. One of kind "popular" is what people
reach for. A "floor" is a part of the work that nobody can do without, such as one matrix product.

CPU time counts, for other load on the machine moves it less than it moves the clock; the clock is written
beside it. All roads take turns, so that a slow moment of the machine meets all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rival:
    """Another road to the same numbers.

    Attributes:
        name: what it is, in a few words.
        run: gives the answer that is compared with ours, or None where there is nothing to compare.
        kind: fair, popular or floor.
        share: the part of the work that `run` does, in (0, 1]; its time is divided by it.
        repeats: how often it is run; None means as often as ours.
    """

    name: str
    run: Callable[[], Any]
    kind: str = "fair"
    share: float = 1.0
    repeats: int | None = None


@dataclass(frozen=True)
class Work:
    """One piece of work.

    Attributes:
        name: what is computed, with its sizes.
        ours: gives our answer.
        rivals: at least one of them fair.
        goal: theirs / ours that is asked for against the fastest fair rival.
        same: largest difference of two answers that counts as equal.
        repeats: how often each road is run.
        difference: of two answers; the largest absolute difference unless told otherwise.
        certificate: of our own answer, if it has one.
    """

    name: str
    ours: Callable[[], Any]
    rivals: Sequence[Rival]
    goal: float
    same: float
    repeats: int = 5
    difference: Callable[[Any, Any], float] | None = None
    certificate: Callable[[], float] | None = None


def only_timed(*_: object) -> None:
    """Nothing to compare: a floor is a part of the work."""


def _largest_difference(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def measured(work: Work) -> Iterator[dict[str, Any]]:
    """One row for each rival: CPU and wall seconds of both, shortest and median, and the difference."""
    roads = {"": (work.ours, work.repeats)} | {
        r.name: (r.run, r.repeats or work.repeats) for r in work.rivals
    }
    cpu: dict[str, list[float]] = {name: [] for name in roads}
    wall: dict[str, list[float]] = {name: [] for name in roads}
    answers: dict[str, Any] = {}
    for turn in range(max(repeats for _, repeats in roads.values())):
        for name, (run, repeats) in roads.items():
            if turn < repeats:
                clock, processor = time.perf_counter(), time.process_time()
                answers[name] = run()
                cpu[name].append(time.process_time() - processor)
                wall[name].append(time.perf_counter() - clock)
    difference = work.difference or _largest_difference
    for rival in work.rivals:
        row: dict[str, Any] = {"work": work.name, "rival": rival.name, "kind": rival.kind}
        for whose, name, share in (("ours", "", 1.0), ("theirs", rival.name, rival.share)):
            row[f"{whose}_cpu"] = min(cpu[name]) / share
            row[f"{whose}_cpu_median"] = statistics.median(cpu[name]) / share
            row[f"{whose}_wall"] = min(wall[name]) / share
        answer = answers[rival.name]
        row["difference"] = np.nan if answer is None else difference(answers[""], answer)
        row["certificate"] = work.certificate() if work.certificate else np.nan
        row["goal"], row["same"] = work.goal, work.same
        yield row
