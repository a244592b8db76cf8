"""The committed ledger, read without pandas: the command line lists verdicts before it loads anything."""

from __future__ import annotations

import csv
from pathlib import Path

from distalign.files import committed_folder

NOT_RUN = "not run yet"
"""The verdict of a claim that no committed ledger has."""


def committed_ledger(folder: Path | None = None) -> dict[str, dict[str, str]]:
    """The rows of the committed ledger by slug, each a text by column.

    Args:
        folder: that holds ledger.csv; by default the one that comes with the package.

    Returns:
        Empty where there is no ledger.

    Example:
        >>> committed_ledger()["aot_transport"]["verdict"]
        'holds'
    """
    path = (folder or committed_folder() / "tables") / "ledger.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["slug"]: row for row in csv.DictReader(file)}


def committed_defects(folder: Path | None = None) -> dict[str, set[str]]:
    """A few planted defects of each claim by slug, on which together each of its checks fails.

    They are the texts of `distalign.simulation.defects.Defect`, chosen in the committed ledger, where all
    defects are planted, so that few cells are computed with them.

    Args:
        folder: as above, with few_defects.csv.

    Returns:
        Empty where there is no such table.

    Example:
        >>> len(committed_defects()["aot_transport"])
        2
    """
    path = (folder or committed_folder() / "tables") / "few_defects.csv"
    found: dict[str, set[str]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["slug"], set()).add(row["defect"])
    return found
