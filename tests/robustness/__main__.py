"""Tables of robustness, written into a folder: `python -m tests.robustness TABLE --out FOLDER`.

inputs   bad inputs of every generator, counted by verdict (about 13,000 calls)
solvers  the slowest hard instance of each solver
kills    50 runs killed at random moments, resumed and compared byte for byte
faults   full and read-only disks at each write, zeroed files, late and dead processes
disks    every command that writes on small, full and read-only disks, and with names that cannot be
pairs    20 runs of two processes with held-out data, through torchrun
certificates  5,000 balls and 5,000 games against roads of their own
scales   78,336 calls of the objectives over number types and scales
flags    bad values of every flag of every command (549 commands)
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

for _name, _value in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}.items():
    os.environ.setdefault(_name, _value)  # before numpy and torch are imported
COLUMNS = (
    "table",
    "name",
    "case",
    "verdict",
    "count",
    "seconds",
    "moment",
    "files_at_kill",
    "files",
    "left_out",
)


def main() -> None:
    """Read the command line and write one table, a row as soon as it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "table",
        choices=("inputs", "solvers", "kills", "faults", "disks", "pairs", "certificates", "scales", "flags"),
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--count", type=int, help="kills, pairs, balls and games; of inputs and flags a sample of so many"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default="", help="one command of kills, faults or disks, or one generator of inputs"
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"{asked.table}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows(asked):
            writer.writerow(row)
            file.flush()
            print(
                *(row.get(name, "") for name in ("name", "case", "verdict", "count", "seconds")),
                file=sys.stderr,
            )


def rows(asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The rows of a table."""
    with tempfile.TemporaryDirectory(prefix="robustness") as folder:
        if asked.table == "inputs":
            from tests.robustness.tables import input_rows

            yield from input_rows(asked.count, asked.seed, asked.only)
        elif asked.table == "solvers":
            from tests.robustness.tables import solver_rows

            yield from solver_rows()
        elif asked.table == "certificates":
            from tests.robustness.certificates import rows as certified

            yield from certified(asked.count or 5000, asked.seed)
        elif asked.table == "scales":
            from tests.robustness.scales import scales_rows

            yield from scales_rows()
        elif asked.table == "flags":
            from tests.robustness.flags import flag_cases
            from tests.robustness.tables import counted

            yield from counted("flags", list(flag_cases()), asked.count, asked.seed, 300.0)
        elif asked.table == "kills":
            from tests.robustness.kills import kill_rows

            yield from kill_rows(Path(folder), asked.count or 50, asked.seed, asked.only)
        elif asked.table == "faults":
            from tests.robustness.faults import fault_rows

            yield from fault_rows(Path(folder), asked.only)
        elif asked.table == "disks":
            from tests.robustness.disks import disk_rows

            yield from disk_rows(Path(folder), asked.only)
        else:
            from tests.robustness.tables import pair_rows

            yield from pair_rows(Path(folder), asked.count or 20)


if __name__ == "__main__":
    main()
