"""What of the repository is different in a wheel: its tables, and the README as the package index shows it.

The wheel carries the tables that a command draws, their numbers to six digits. The repository's tables have
every digit, so that a run can be compared with them bit by bit; a figure shows three. The package index has
neither the repository's pages nor its pictures: links and pictures of the README lead to the address of the
repository, or, as long as `project.urls` names none, are words.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

LONG = re.compile(r"(?<![\w.])-?(?=[\d.]{8})\d+\.\d+(?:e[-+]?\d+)?(?![\w.])")  # seven digits or more


def shortened(text: str) -> str:
    """A table in which each decimal number has at most six significant digits."""
    return LONG.sub(lambda number: repr(float(f"{float(number[0]):.6g}")), text)


def for_the_index(readme: str, repository: str = "") -> str:
    """The README without a link or picture that leads nowhere outside of the repository.

    Args:
        readme: Markdown.
        repository: address of the repository; empty where it has none.
    """

    def whole(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if "://" in target:
            return link[0]
        if not repository:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/HEAD/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", whole, readme)


class CustomMetadataHook(MetadataHookInterface):
    """The README as the package index shows it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_the_index(text, address)}


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
