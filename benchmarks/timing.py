"""Timing of two roads to the same numbers: taken in turns, on one thread, in one run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Duel:
    """One line of the benchmark table: ours against a named twin.

    Attributes: name: what is computed. ours, theirs: seconds. twin: what it is compared with. goal: what
    ratio or time is asked for. met: whether that is reached. agreement: the largest difference of the two
    answers.
    """

    name: str
    ours: float
    twin: str
    theirs: float
    goal: str
    met: bool
    agreement: float

    def line(self) -> str:
        speed = self.theirs / self.ours
        return (
            f"{self.name:58s} {self.ours:9.4f} s  {self.twin:34s} {self.theirs:9.4f} s  {speed:8.2f}x  "
            f"{self.goal:14s} {'met' if self.met else 'MISSED'}  largest difference {self.agreement:.1e}"
        )


def best(f: Callable[[], object], repeats: int) -> float:
    """The shortest time of several runs, in seconds: other load on the machine only ever adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return float(np.min(times))


def duel(
    name: str,
    ours: Callable,
    twin: str,
    theirs: Callable,
    difference: Callable[[], float],
    *,
    at_least: float = 0,
    at_most: float = 0,
    repeats: int = 5,
    their_repeats: int = 0,
) -> Duel:
    """Time both roads in the same run.

    `at_least` asks for a ratio theirs/ours, `at_most` for a ratio ours/theirs.
    """
    mine, others = best(ours, repeats), best(theirs, their_repeats or repeats)
    met = others / mine >= at_least if at_least else mine / others <= at_most
    goal = f"goal >= {at_least:g}x" if at_least else f"goal <= {at_most:g}"
    return Duel(name, mine, twin, others, goal, bool(met), difference())
