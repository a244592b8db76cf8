"""Training steps beside TRL's and the naive way: CPU seconds and peak memory.

`python -m benchmarks.training` prints the table; `python -m benchmarks.training VARIANT` measures one
variant and prints JSON. Each variant runs in a process of its own.

A step is forward, loss and backward, without the optimiser's, which is the same for all. Time is process
CPU time on one thread, the median over processes that take turns; other load on the machine moves it less
than it moves the clock. Memory is the peak of resident memory above what the process held before its first
step, gradients included. TRL's step is its trainer's own `compute_loss` on a batch of its collator's shape,
with gradient checkpointing off, and backward.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Ratio:
    """One line of the table, against a ceiling.

    It is ours / theirs in seconds or megabytes, or a difference where `theirs` is None.
    """

    name: str
    ours: float
    theirs: float | None
    unit: str
    ceiling: float | None

    @property
    def value(self) -> float:
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def met(self) -> bool:
        return self.ceiling is None or self.value <= self.ceiling

    def line(self) -> str:
        goal = (
            "for information"
            if self.ceiling is None
            else f"goal <= {self.ceiling:g}  {'met' if self.met else 'MISSED'}"
        )
        if self.theirs is None:
            return f"{self.name:78s} {self.ours:9.1e} {self.unit:36s} {goal}"
        values = f"{self.ours:8.2f} / {self.theirs:8.2f} {self.unit:3s}"
        return f"{self.name:78s} {values} = {self.value:5.2f}x {'':9s} {goal}"


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def measured(step: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median CPU seconds of a step and the peak of resident memory that its first run adds, in MB."""
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as reset:
        reset.write("5")
    before = resident("VmRSS")
    step()
    peak = resident("VmHWM") - before
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return {"seconds": statistics.median(times), "MB": peak}


def child(variant: str) -> dict[str, float]:
    """What `measured` gives for a variant, in a process of its own."""
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", variant], capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise RuntimeError(f"{variant}: {completed.stderr[-2000:]}")
    return json.loads(completed.stdout.splitlines()[-1])


def rounds(variants: list[str], count: int) -> dict[str, dict[str, float]]:
    """Median of each variant over processes that take turns."""
    measurements: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(count):
        for variant in variants:
            measurements[variant].append(child(variant))
    return {
        v: {key: statistics.median(x[key] for x in xs) for key in xs[0]} for v, xs in measurements.items()
    }


def duels(count: int = 3) -> Iterator[Ratio]:
    """Every promise of the training module, as lines."""
    step = rounds(["trl cached", "ours cached", "trl loop", "ours loop", "ours cached shared"], count)
    for kind in ("cached", "loop"):
        words = "reference cached by both" if kind == "cached" else "reference in the step by both"
        for unit, short, ceiling in (("seconds", "s", 0.45), ("MB", "MB", 0.25)):
            yield Ratio(
                f"DPO step / TRL's, {words}",
                step[f"ours {kind}"][unit],
                step[f"trl {kind}"][unit],
                short,
                ceiling,
            )
    for unit, short in (("seconds", "s"), ("MB", "MB")):
        yield Ratio(
            "DPO step / TRL's, our default / its default",
            step["ours cached shared"][unit],
            step["trl loop"][unit],
            short,
            None,
        )
    for what, value in child("agree trl").items():
        ceiling = None if "4 x 512" in what else 1e-5
        yield Ratio(f"DPO step: {what} beside TRL's", value, None, "relative difference", ceiling)
    head = rounds(["head naive", "head tiled", "head naive frozen", "head tiled frozen"], 1)
    for kind, ceiling in (("", 0.15), (" frozen", None)):
        for unit, short in (("MB", "MB"), ("seconds", "s")):
            yield Ratio(
                f"head, 4,096 tokens x 1,024 x 128,256{kind} / full logits",
                head[f"head tiled{kind}"][unit],
                head[f"head naive{kind}"][unit],
                short,
                ceiling if unit == "MB" else None,
            )
    half = rounds(["half apart", "half shared"], count)
    for unit, short, ceiling in (("seconds", "s", 0.85), ("MB", "MB", None)):
        yield Ratio(
            "prompt (half a row) computed once / twice",
            half["half shared"][unit],
            half["half apart"][unit],
            short,
            ceiling,
        )
    yield Ratio(
        "shared prompt: gradient beside rows apart",
        child("agree shared")["gradient"],
        None,
        "relative difference",
        1e-5,
    )
    two = rounds(["aot averaged", "aot exact"], count)
    for unit, short, ceiling in (("seconds", "s", 1.35), ("MB", "MB", None)):
        yield Ratio(
            "AOT, 8 micro-batches of 1: exact / averaged",
            two["aot exact"][unit],
            two["aot averaged"][unit],
            short,
            ceiling,
        )
    for what, value in child("agree aot").items():
        yield Ratio(
            f"gradient of {what}, beside one batch of 8",
            value,
            None,
            "relative difference",
            1e-6 if what.endswith("exact") else None,
        )


def main() -> None:
    if len(sys.argv) > 1:
        name = sys.argv[1]
        from benchmarks.training_steps import AGREEMENTS, VARIANTS

        print(
            json.dumps(
                AGREEMENTS[name]()
                if name in AGREEMENTS
                else measured(VARIANTS[name](), 1 if name.startswith("head") else 2)
            )
        )
        return
    for ratio in duels():
        print(ratio.line(), flush=True)


if __name__ == "__main__":
    main()
