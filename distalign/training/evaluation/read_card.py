"""What the card of a model that distalign wrote says: the model's reference, and the weights it started from.

Cards of others are not read for this: their `base_model` may be the model that was quantised, or merged, or
trained in several steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distalign.training.evaluation.card import REFERENCE

WEIGHTS, DTYPE, ADAPTER = "weights before training", "dtype", "digest of the adapter"
"""Rows of a card's tables: of its provenance, of its recipe, of what a merge was made of."""


@dataclass(frozen=True)
class ReadCard:
    """A card of distalign.

    Attributes:
        base: the model that was trained, or the base of its adapter.
        reference: the model or adapter whose log-probabilities were the reference.
        rows: first cell to second cell of its tables.
    """

    base: str
    reference: str
    rows: dict[str, str]


def read_card(folder: str | Path) -> ReadCard | None:
    """The card in a folder, or None where it has none of distalign's.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> read_card(folder) is None
        True
        >>> lines = ("---", "base_model: m", "tags:", "- distalign", "---", "| a | b |")
        >>> _ = (folder / "README.md").write_text(chr(10).join(lines))
        >>> read_card(folder)
        ReadCard(base='m', reference='m', rows={'a': 'b'})
    """
    try:
        lines = (Path(folder) / "README.md").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return None
    end = lines.index("---", 1)
    says = dict(line.split(": ", 1) for line in lines[1:end] if ": " in line)
    if "- distalign" not in lines[1:end] or not says.get("base_model"):
        return None
    cells = [line.strip("|").split(" | ") for line in lines[end:] if line.startswith("| ")]
    return ReadCard(
        base=says["base_model"],
        reference=says.get(REFERENCE, says["base_model"]),  # cards had no such key before there were adapters
        rows={row[0].strip(): row[1].strip() for row in cells if len(row) == 2},
    )
