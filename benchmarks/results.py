"""The table of `python -m benchmarks`: what was measured is written, ratios are computed when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

TABLE = Path(__file__).with_name("results.csv")
PROVENANCE = Path(__file__).with_name("results.json")


def with_ratios(measured: pd.DataFrame) -> pd.DataFrame:
    """The measured rows with `ratio`, theirs / ours in CPU seconds; above 1 we are faster."""
    return measured.assign(ratio=measured["theirs_cpu"] / measured["ours_cpu"])


def fairest(measured: pd.DataFrame) -> pd.DataFrame:
    """One row for each piece of work: the fastest fair rival, and whether our goal is met.

    A goal is met if the ratio reaches it and the two answers are equal.
    """
    fair = with_ratios(measured[measured["kind"] == "fair"])
    best = fair.loc[fair.groupby("work", sort=False)["ratio"].idxmin()]
    equal = best["difference"].isna() | (best["difference"] <= best["same"])
    return best.assign(met=(best["ratio"] >= best["goal"]) & equal)


def line(row: dict[str, Any]) -> str:
    """One measured row as a line of the terminal."""
    ratio = row["theirs_cpu"] / row["ours_cpu"]
    times = f"{row['ours_cpu']:9.4f} s {row['theirs_cpu']:9.4f} s {ratio:8.2f}x"
    return f"{row['work']:46s} {row['kind']:8s} {row['rival']:44s} {times}  differ by {row['difference']:.0e}"
