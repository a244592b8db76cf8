"""The page of `python -m benchmarks`: docs/speed.md, from benchmarks/results.csv."""

import json

import pandas as pd

from benchmarks.results import PROVENANCE, TABLE, fairest, with_ratios

TEXT = """# How fast, and against whom

Written by `python -m analysis` from `benchmarks/results.csv`, which `python -m benchmarks` measures: do not
edit. Measured on one thread of a shared {processor} on {day}, at commit {commit}{changed}.

A ratio against a general tool that is called one problem at a time says little. So each piece of work meets
the fairest rival that we could write or find: a closed form, a dozen lines of numpy written for that one
problem, a tuned call of a fast library. All roads take turns in one process and end at the same numbers;
times are the shortest CPU seconds of several runs. The ratio is theirs / ours: above 1 distalign is faster.

{fair}

Of {count} goals {met} are met. Where the ratio is below 1 the rival is faster. The rivals that are written
here check no input, give no certificate and solve the one problem only.

## Beside what people reach for, and beside the floor

A floor is a part of the work that nobody can do without, such as the two sorts of AOT.

{others}
"""


def _table(rows: list[list[str]], head: list[str]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page() -> str:
    """The text of docs/speed.md."""
    measured = pd.read_csv(TABLE)
    source = json.loads(PROVENANCE.read_text(encoding="utf-8"))
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
        processor=source["processor"],
        day=source["day"],
        commit=source["commit"][:10],
        changed=" with uncommitted changes" if source["uncommitted changes"] else "",
        fair=_table(fair, ["work", "ours", "fairest rival", "theirs", "ratio", "goal"]),
        count=len(best),
        met=int(best["met"].sum()),
        others=_table(others, ["work", "other road", "kind", "theirs", "ratio"]),
    )
