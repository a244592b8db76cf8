"""The tables of `python -m benchmarks`: what was measured is written, ratios are computed when it is read."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
TABLE = HERE / "results.csv"  # of `python -m benchmarks`
STEPS = HERE / "training.csv"  # of `python -m benchmarks.training`
GROWTH = HERE / "growth.csv"  # of `python -m benchmarks.growth`


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


def exponents(grown: pd.DataFrame, slack: float = 0.2, least: float = 10.0) -> pd.DataFrame:
    """One row for each piece of work of `benchmarks.growth`: its exponents from the middle size on, and
    whether they are within `slack` of theory's.

    Memory of less than `least` MB at the largest size is the allocator's and has no exponent.
    """
    found = []
    for work, rows in grown.groupby("work", sort=False):
        first, last = rows.iloc[-2], rows.iloc[-1]
        span = np.log(last["size"] / first["size"])
        time = float(np.log(last["cpu"] / first["cpu"]) / span)
        memory = np.nan
        if last["mb"] >= least:
            memory = float(np.log(last["mb"] / max(first["mb"], least / 10)) / span)
        fine = time <= last["theory_time"] + slack and not memory > last["theory_memory"] + slack
        found.append(
            {
                "work": work,
                "sizes": ", ".join(f"{size:,}" for size in rows["size"]),
                "cpu": last["cpu"],
                "mb": last["mb"],
                "time": time,
                "theory_time": last["theory_time"],
                "memory": memory,
                "theory_memory": last["theory_memory"],
                "fine": fine,
            }
        )
    return pd.DataFrame(found)


def line(row: dict[str, Any]) -> str:
    """One measured row as a line of the terminal."""
    ratio = row["theirs_cpu"] / row["ours_cpu"]
    times = f"{row['ours_cpu']:9.4f} s {row['theirs_cpu']:9.4f} s {ratio:8.2f}x"
    return f"{row['work']:46s} {row['kind']:8s} {row['rival']:44s} {times}  differ by {row['difference']:.0e}"


def write(measured: pd.DataFrame, table: Path) -> None:
    """The table, and beside it where it came from: commit, processor, versions and day.

    Tables of measurements that are not committed yet are no change: they are what is being written.
    """
    others = [":/", *(f":(top,exclude)benchmarks/*.{kind}" for kind in ("csv", "json"))]
    names = ("numpy", "scipy", "torch", "transformers", "trl", "cvxpy", "clarabel", "highspy", "POT")
    record = {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", *others)),
        "day": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }
    measured.to_csv(table, index=False, float_format="%.6g", lineterminator="\n")
    table.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
