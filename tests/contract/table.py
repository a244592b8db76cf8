"""Print the contract as a table of objectives by points: `python -m tests.contract.table` from the root of
the repository.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

TITLES = ("hand", "limits", "gradient", "order", "minimum", "two-pass", "model", "robust", "errors", "docs")
MARKS = {"failed": "X", "passed": "+", "skipped": "."}  # the first that occurs stands for the point


class Recorder:
    """Outcomes of the contract's tests by objective and point, and the reasons of those that do not apply."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[int, set[str]]] = {}
        self.reasons: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = re.search(r"::test_(\d\d)_\w+\[(.*)\]$", report.nodeid)
        if found is None or not (report.when == "call" or report.outcome != "passed"):
            return
        point, name = int(found[1]), re.sub(r"^torch\.\w+-", "", found[2])
        self.outcomes.setdefault(name, {}).setdefault(point, set()).add(report.outcome)
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.reasons.setdefault(f"{point} {TITLES[point - 1]}: {reason}", []).append(name)

    def table(self) -> str:
        """One row an objective; a point holds where every test of it that applies has passed."""
        head = "| objective | " + " | ".join(f"{i} {title}" for i, title in enumerate(TITLES, 1)) + " |"
        rows = [head, "|---" * (len(TITLES) + 1) + "|"]
        for name, points in self.outcomes.items():
            seen = [points.get(i, {"skipped"}) for i in range(1, len(TITLES) + 1)]
            marks = [
                next(mark for outcome, mark in MARKS.items() if outcome in outcomes) for outcomes in seen
            ]
            rows.append(f"| {name} | " + " | ".join(marks) + " |")
        notes = [
            f"- {reason} ({', '.join(dict.fromkeys(names))})"
            for reason, names in sorted(self.reasons.items())
        ]
        return "\n".join([*rows, "", "+ holds, . does not apply, X fails", "", *notes])


def main() -> int:
    """Run the contract and print its table; the exit status is pytest's."""
    recorder = Recorder()
    contract = str(Path(__file__).parent / "test_contract.py")
    status = pytest.main([contract, "-q", "--no-header", "--no-summary"], plugins=[recorder])
    print(recorder.table())
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
