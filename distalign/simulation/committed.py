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
