"""Training steps beside TRL's and the naive way: CPU seconds and peak memory.

`python -m benchmarks.training` prints the table and writes `benchmarks/training.csv` and where it came from;
`python -m benchmarks.training VARIANT` measures one variant and prints JSON. Each variant runs in a process
of its own, `ROUNDS` (an environment variable, 3 by default) times in turns.

A step is forward, loss and backward, without the optimiser's, which is the same for all. Time is process
CPU time on one thread, the median over processes that take turns; other load on the machine moves it less
than it moves the clock. Memory is the peak of resident memory above what the process held before its first
step, gradients included. TRL's step is its trainer's own `compute_loss` on a batch of its collator's shape,
with gradient checkpointing off, and backward. TRL's head takes all 4,096 tokens by 32,768 words as one tile
on a CPU and scores every position; tuned, it gets tiles that stay in the cache and scores completions only,
as it does on a GPU.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import pandas as pd

from benchmarks import results


def line(row: dict[str, Any]) -> str:
    """One measured row as a line of the terminal."""
    name = f"{row['work']} / {row['rival']}"
    if row["unit"] == "relative difference":
        return f"{name:110s} {row['ours']:9.1e} apart"
    ratio = row["ours"] / row["theirs"]
    goal = "" if np.isnan(row["ceiling"]) else f"goal <= {row['ceiling']:g}"
    return (
        f"{name:110s} {row['ours']:9.2f} {row['theirs']:9.2f} {row['unit']:3s} = {ratio:5.2f}x  "
        f"{goal}{'' if not goal else ' met' if ratio <= row['ceiling'] else ' MISSED'}"
    )


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


STEPS = (  # work; ours; rival, its variant, its kind; ceilings of ours / theirs in seconds and MB
    (
        "DPO step, hidden 256, 4 layers, V = 32,000, 4 pairs x 512",
        "ours cached",
        ("TRL, tiles that fit, completions only", "trl tuned", "fair", 0.95, 0.8),
        ("TRL at its defaults", "trl cached", "popular", None, None),
    ),
    (
        "DPO step, hidden 576, 30 layers, V = 49,152 (SmolLM2), 1 pair x 128",
        "ours smollm2",
        ("TRL, tiles that fit, completions only", "trl tuned smollm2", "fair", 0.95, 0.8),
    ),
    (
        "DPO step, hidden 512, 8 layers, V = 8,000, 4 pairs x 512, prompts half a row and shared",
        "half shared",
        ("TRL, tiles that fit, completions only", "trl tuned half", "fair", 0.8, 0.8),
        ("ours, prompts not shared", "half apart", "popular", None, None),
    ),
    (
        "head alone, 4,096 tokens x 1,024, V = 128,256",
        "head tiled",
        ("torch linear_cross_entropy, chunks of 128 tokens", "head torch", "fair", 1.0, 1.0),
        ("full logits", "head naive", "popular", None, None),
    ),
    (
        "AOT of 8 pairs, the exact gradient from micro-batches of 1",
        "aot exact",
        ("averaging micro-batches, another gradient", "aot averaged", "popular", None, None),
    ),
)


def duels(count: int) -> Iterator[dict[str, Any]]:
    """One row for each work, rival and unit, measured by processes that take turns."""
    for work, ours, *rivals in STEPS:
        times = rounds([ours, *(variant for _, variant, *_ in rivals)], count)
        for rival, variant, kind, seconds, memory in rivals:
            for unit, short, ceiling in (("seconds", "s", seconds), ("MB", "MB", memory)):
                yield {
                    "work": work,
                    "rival": rival,
                    "kind": kind,
                    "unit": short,
                    "ours": times[ours][unit],
                    "theirs": times[variant][unit],
                    "ceiling": np.nan if ceiling is None else ceiling,
                    "rounds": count,
                }
    for agreement in AGREED:
        for what, value in child(agreement).items():
            yield {
                "work": what,
                "rival": AGREED[agreement],
                "kind": "agreement",
                "unit": "relative difference",
                "ours": value,
                "theirs": np.nan,
                "ceiling": np.nan,
                "rounds": 1,
            }


AGREED = {
    "agree trl": "TRL's",
    "agree tuned": "TRL's with tiles that fit, completions only",
    "agree head": "torch linear_cross_entropy's",
    "agree shared": "rows apart",
    "agree aot": "one batch of 8",
}


def main() -> None:
    if len(sys.argv) > 1:
        name = sys.argv[1]
        from benchmarks.training_steps import AGREEMENTS, VARIANTS

        step = AGREEMENTS[name]() if name in AGREEMENTS else measured(VARIANTS[name](), 2)
        print(json.dumps(step))
        return
    rows = []
    for row in duels(int(os.environ.get("ROUNDS", "3"))):
        print(line(row), flush=True)
        rows.append(row)
    results.write(pd.DataFrame(rows), results.STEPS)


if __name__ == "__main__":
    main()
