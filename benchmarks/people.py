"""How `distalign simulate` grows with users and votes: `python -m benchmarks.people [million] [--out DIR]`.

Without a word: two shapes of data (60 items and 20 votes a user; 1,000 items and 20 votes a user) at three
sizes each. Every stage is a process of its own, so that its CPU seconds and its peak of memory are its own:
reading a Parquet file, one fit at given penalties, and users fitted with the cross-validation. The exponents
are slopes of log CPU on log votes, the seconds that an empty process takes subtracted.

With the word `million`: one million users and 20 million votes from Parquet through `distalign simulate` to
tables, intervals, figures and the page, in one process, measured as a whole.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

SHAPES = {60: (10_000, 20_000, 40_000), 1000: (25_000, 50_000, 100_000)}
VOTES_EACH = 20
STAGES = {
    "start": "",
    "read": "votes = load_votes(path)",
    "one fit": "votes = survey_fit._by_user(load_votes(path)); p = survey_fit._problem(votes, own=True); "
    "x, bound = survey_fit._fit(p, (1.0, 3.0), np.zeros(p.design.parameters), 1e-6); assert bound <= 1e-6",
    "cross-validated": "fit = survey_fit.fit_users(load_votes(path)); assert fit.certificate <= 1e-6",
}
IMPORTS = (
    "import sys; import numpy as np; from distalign.pluralism import survey_fit; "
    "from distalign.pluralism.sources.votes import load_votes; path = sys.argv[1]; "
)


def make(path: Path, users: int, items: int, seed: int = 0) -> None:
    """Votes of Bradley-Terry users whose utilities are a common normal and 0.7 times a normal of their own.

    They are written a hundred thousand users at a time, so that this needs little memory.
    """
    import pyarrow
    import pyarrow.parquet

    rng = np.random.default_rng(seed)
    common, writer = rng.standard_normal(items), None
    for start in range(0, users, 100_000):
        some = min(100_000, users - start)
        own = 0.7 * rng.standard_normal((some, items), dtype=np.float32)
        user = np.repeat(np.arange(some), VOTES_EACH)
        first = rng.integers(items, size=len(user))
        second = (first + rng.integers(1, items, size=len(user))) % items
        t = common[first] - common[second] + own[user, first] - own[user, second]
        won = rng.random(len(user)) < 1 / (1 + np.exp(-t))
        columns = {
            "user": user + start,
            "first": first,
            "second": second,
            "vote": np.where(won, "first", "second"),
        }
        table = pyarrow.table(columns)
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def made(path: Path, users: int, items: int) -> None:
    """`make` in a process of its own, for the peak of a child begins at the memory of its parent."""
    if not path.is_file():
        asked = f"make(Path({str(path)!r}), {users}, {items})"
        measured(["-c", f"from pathlib import Path; from benchmarks.people import make; {asked}"])


def measured(words: list[str], log: Path | None = None) -> tuple[float, float, float]:
    """CPU seconds, GB at the peak, and seconds of the clock of one process on one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    began = time.monotonic()
    with open(log or os.devnull, "w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **threads}, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words[:3]} failed" + (f": see {log}" if log else ""))
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, time.monotonic() - began


def sizes(out: Path) -> pd.DataFrame:
    """One row a shape, size and stage, and the exponents."""
    rows, exponents = [], []
    for items, several in SHAPES.items():
        for users in several:
            path = out / f"{users}x{items}.parquet"
            made(path, users, items)
            idle = 0.0
            for stage, code in STAGES.items():
                cpu, peak, clock = measured(["-c", IMPORTS + code, str(path)])
                idle = cpu if stage == "start" else idle
                rows.append(
                    (users, items, users * VOTES_EACH, stage, cpu - idle if code else cpu, peak, clock)
                )
                print(
                    "{} users, {} items, {} votes, {}: {:.1f} CPU s, {:.2f} GB, {:.0f} s".format(*rows[-1]),
                    flush=True,
                )
        for stage in list(STAGES)[1:]:
            own = [(r[2], r[4]) for r in rows if r[1] == items and r[3] == stage]
            slope = np.polyfit(*np.log(np.array(own).T), 1)[0]
            exponents.append({"items": items, "stage": stage, "exponent": slope})
            print(f"{items} items, {stage}: CPU grows as votes^{slope:.2f}", flush=True)
    pd.DataFrame(exponents).to_csv(out / "exponents.csv", index=False)
    columns = ["users", "items", "votes", "stage", "cpu_s", "peak_gb", "clock_s"]
    return pd.DataFrame(rows, columns=columns)


def million(out: Path) -> pd.DataFrame:
    """One million users, 60 items, 20 million votes: end to end."""
    path = out / "million.parquet"
    made(path, 1_000_000, 60)
    words = [
        "-m",
        "distalign",
        "simulate",
        "--votes",
        str(path),
        "--workers",
        "1",
        "--out",
        str(out / "million"),
    ]
    cpu, peak, clock = measured(words, out / "million.log")
    print(f"one million users, 20 million votes: {cpu:.0f} CPU s, {peak:.2f} GB, {clock:.0f} s", flush=True)
    return pd.DataFrame([(1_000_000, 60, 20_000_000, "end to end", cpu, peak, clock)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["sizes", "million"], default="sizes")
    parser.add_argument("--out", type=Path, default=Path("out/people"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = sizes(given.out) if given.what == "sizes" else million(given.out)
    found.to_csv(given.out / f"{given.what}.csv", index=False)
