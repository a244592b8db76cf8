"""Measure distalign beside its rivals: `python -m benchmarks`, or some of it: `python -m benchmarks kl aot`.
One piece of work is chosen by a word of its name: `python -m benchmarks kl:ball`.

Each piece of work meets the fairest rival that we could write or find, in the same process, on one thread and
in turns. The whole run writes `benchmarks/results.csv` and where it came from; a missed goal is printed and
does not fail the run. Training steps are measured by `python -m benchmarks.training`, how time and memory
grow with size by `python -m benchmarks.growth`, a GPU by `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import importlib
import os
import sys

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: it reads them once

import pandas as pd  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.timing import measured  # noqa: E402

MODULES = ("kl", "wasserstein", "kkt", "density_ratio", "rewards", "games", "aot")


def main(chosen: list[str]) -> None:
    """Measure, print, and write the table if everything was measured."""
    if unknown := [part for part in chosen if part.partition(":")[0] not in MODULES]:
        sys.exit(f"{__doc__}\n{unknown[0]} is none of {', '.join(MODULES)}")
    rows = []
    for part in chosen or MODULES:
        name, _, word = part.partition(":")
        for work in importlib.import_module(f"benchmarks.{name}").works():
            for row in measured(work) if word in work.name else ():
                print(results.line(row), flush=True)
                rows.append(row)
    table = pd.DataFrame(rows)
    for row in results.fairest(table).to_dict("records"):
        state = "met" if row["met"] else "missed"
        print(f"{row['work']:46s} goal {row['goal']:g}x, {row['ratio']:.2f}x: {state}")
    if not chosen:
        results.write(table, results.TABLE)
        print(f"{results.TABLE} written")


if __name__ == "__main__":
    main(sys.argv[1:])
