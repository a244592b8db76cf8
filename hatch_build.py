"""The tables as the wheel carries them: those that a command draws, their numbers to six digits.

The repository's tables have every digit, so that a run can be compared with them bit by bit; a figure shows
three.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LONG = re.compile(r"(?<![\w.])-?(?=[\d.]{8})\d+\.\d+(?:e[-+]?\d+)?(?![\w.])")  # seven digits or more


def shortened(text: str) -> str:
    """A table in which each decimal number has at most six significant digits."""
    return LONG.sub(lambda number: repr(float(f"{float(number[0]):.6g}")), text)


class CustomBuildHook(BuildHookInterface[Any]):
    """Writes the short tables beside the build, and gives them their place in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the table of each drawing file; an editable install is the checkout, with its own tables."""
        if version == "editable":
            return
        drawn = Path(self.root) / "paper_figures"
        self.short = tempfile.TemporaryDirectory()
        for path in sorted(drawn.glob("*.py")):
            table = f"{path.stem}.csv"
            short = Path(self.short.name) / table
            exact = (drawn / "tables" / table).read_text(encoding="utf-8")
            short.write_text(shortened(exact), encoding="utf-8")
            build_data["force_include"][str(short)] = f"distalign/paper_figures/tables/{table}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the short tables: they are in the wheel."""
        if version != "editable":
            self.short.cleanup()
