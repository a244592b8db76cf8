"""The page of the benchmarks: docs/speed.md, from the tables that they wrote."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.results import GROWTH, STEPS, TABLE, exponents, fairest, with_ratios

TEXT = """# How fast, and against whom

Written by `python -m analysis` from `benchmarks/results.csv`, which `python -m benchmarks` measures: do not
edit. {measured}

A ratio against a general tool that is called one problem at a time says little. So each piece of work meets
the fairest rival that we could write or find: a closed form, a dozen lines of numpy written for that one
problem, a tuned call of a fast library. All roads take turns in one process and end at the same numbers;
times are the shortest CPU seconds of several runs. The ratio is theirs / ours: above 1 distalign is faster.

{fair}

Of {count} goals {met} are met. Where the ratio is below 1 the rival is faster. The rivals that are written
here check no input, give no certificate and solve the one problem only. Ours give theirs, but for the KKT
conditions: those are checked when the certificate is read, which is not timed.

## Beside what people reach for, and beside the floor

A floor is a part of the work that nobody can do without, such as the two sorts of AOT.

{others}

## A training step

Forward, loss and backward on a CPU (`python -m benchmarks.training`): CPU seconds, and peak memory over the
start with gradients, the median of {rounds} process{es} a road with two timed runs each. {steps_measured}
The ratio is ours / theirs here, so below 1 distalign needs less. On a CPU most of a step is matrix products,
which both roads make. TRL at its defaults takes the whole vocabulary as one tile and scores prompts, too;
tuned, its head gets what it has on a GPU.

{steps}

How far apart the numbers are:

{agreements}

## How cost grows

The exponent of time and memory from the middle size to the largest, beside that of the algorithm's leading
term (`python -m benchmarks.growth`). {growth_measured} Memory below 10 MB has no exponent; an exponent that
lies above theory's by more than .2 is marked.

{growth}
"""


def _table(rows: list[list[str]], head: list[str]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _measured(table: Path) -> str:
    """Where a table came from."""
    source = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
    changed = " with uncommitted changes" if source["uncommitted changes"] else ""
    return (
        f"Measured on one thread of a shared {source['processor']} on {source['day']}, at commit "
        f"{source['commit'][:10]}{changed}."
    )


def _goal(ceiling: float, ratio: float) -> str:
    if pd.isna(ceiling):
        return ""
    return f"{ceiling:g}, {'met' if ratio <= ceiling else '**missed**'}"


def _steps(measured: pd.DataFrame) -> dict[str, str]:
    """Both tables of training steps."""
    apart = measured["kind"] == "agreement"
    lines = []
    for row in measured[~apart].to_dict("records"):
        ratio, digits = row["ours"] / row["theirs"], ".2f" if row["unit"] == "s" else ",.0f"
        values = [f"{row[whose]:{digits}} {row['unit']}" for whose in ("ours", "theirs")]
        goal = _goal(row["ceiling"], ratio)
        lines.append([row["work"], values[0], row["rival"], values[1], f"{ratio:.2f}", goal])
    agreed = [[r["work"], r["rival"], f"{r['ours']:.1e}"] for r in measured[apart].to_dict("records")]
    rounds = int(measured.loc[~apart, "rounds"].max())
    return {
        "rounds": str(rounds),
        "es": "es" if rounds > 1 else "",
        "steps": _table(lines, ["work", "ours", "other road", "theirs", "ratio", "goal"]),
        "agreements": _table(agreed, ["what", "beside", "relative difference"]),
    }


def _growth(measured: pd.DataFrame) -> str:
    def line(row: dict[str, Any]) -> list[str]:
        memory = "" if pd.isna(row["memory"]) else f"{row['memory']:.2f} ({row['theory_memory']:g})"
        time = f"{row['time']:.2f} ({row['theory_time']:g})"
        largest = f"{row['cpu']:.2g} s, {row['mb']:,.0f} MB"
        return [row["work"], row["sizes"], largest, time, memory, "" if row["fine"] else "**above**"]

    head = ["work", "n", "at the largest", "time (theory)", "memory (theory)", ""]
    return _table([line(row) for row in exponents(measured).to_dict("records")], head)


def page() -> str:
    """The text of docs/speed.md."""
    measured = pd.read_csv(TABLE)
    best = fairest(measured)
    fair = [
        [
            row["work"],
            f"{row['ours_cpu']:.2g} s",
            row["rival"],
            f"{row['theirs_cpu']:.2g} s",
            f"{row['ratio']:.2f}",
            f"{row['goal']:g}, {'met' if row['met'] else '**missed**'}",
        ]
        for row in best.to_dict("records")
    ]
    rest = with_ratios(measured).drop(best.index)
    others = [
        [row["work"], row["rival"], row["kind"], f"{row['theirs_cpu']:.2g} s", f"{row['ratio']:.3g}"]
        for row in rest.to_dict("records")
    ]
    return TEXT.format(
        measured=_measured(TABLE),
        fair=_table(fair, ["work", "ours", "fairest rival", "theirs", "ratio", "goal"]),
        count=len(best),
        met=int(best["met"].sum()),
        others=_table(others, ["work", "other road", "kind", "theirs", "ratio"]),
        steps_measured=_measured(STEPS),
        growth_measured=_measured(GROWTH),
        growth=_growth(pd.read_csv(GROWTH)),
        **_steps(pd.read_csv(STEPS)),
    )
