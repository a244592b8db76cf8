"""Mutation score of the test suite: `make mutants`, or `python -m tests.mutants map` and then `run`.

A mutant is the package with one small mistake in one function: a comparison turned round, a sum for a
difference, a number 10 % off, an argument of `max` for `min`. It is killed if a test fails. A mutant that
survives points at a line whose value no test asks for.

`map` runs the tests of the packages once and records with `coverage` which of them run which line. `run`
draws mutants from a seeded generator, the same number from each package, and runs the tests that reach the
mutated line, quickest first, until one fails; a mutant that none of them kills is tried on the claims whose
study reaches it. Each is judged in a process of its own; tests that start other processes see the right code
there, and so can only understate the score. A run that was killed goes on where it stopped. `again` judges
the survivors anew, after tests were written (and mapped). `sound` runs every test that killed something on
the right code. The rows of the
run are docs/mutants.csv, from which `python -m analysis` writes docs/mutants.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.mutants.judge import ROWS, again, run, sound
from tests.mutants.reach import make_map


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("map", "run", "again", "sound"))
    parser.add_argument("tests", nargs="*", help="for map: arguments of pytest, after --")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests for one mutant")
    parser.add_argument("--claims", type=int, default=3, help="claims tried on one that they do not kill")
    parser.add_argument("--rows", type=Path, default=ROWS)
    asked = parser.parse_args()
    if asked.verb == "map":
        make_map(asked.tests)
    elif asked.verb == "run":
        run(asked.count, asked.seed, asked.rows, asked.budget, asked.claims)
    elif asked.verb == "again":
        again(asked.count, asked.seed, asked.rows, asked.budget, asked.claims)
    else:
        sound(asked.rows)


if __name__ == "__main__":
    main()
