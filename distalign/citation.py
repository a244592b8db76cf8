"""What to cite: BibTeX for claims, and for the folder of a run, whose record says which papers it used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distalign.bibliography import DISTALIGN, PAPERS
from distalign.checks import InputError
from distalign.claims import CLAIMS, claims

_CARDS = ("README.md", "model/README.md")  # of a model, of the run that trained it
_FENCE = "```bibtex\n"


def bibtex(what: Sequence[str] = ()) -> str:
    """BibTeX for distalign and for the papers behind the claims and runs named, or for all papers.

    Args:
        what: slugs of claims, and folders: of `distalign verify` (its provenance.json names the claims that
            ran), of `distalign train` or of its model (the card names what it used). None means all papers.

    Raises:
        InputError: an unknown slug, or a folder that holds neither record.

    Example:
        >>> [line for line in bibtex(["kldpo_rate"]).splitlines() if line.startswith("@")]
        ['@software{distalign,', '@article{xu2025robust,']
    """
    known = {c.slug for c in CLAIMS}
    folders = [Path(name) for name in what if name not in known and Path(name).is_dir()]
    slugs = tuple(name for name in what if name in known or not Path(name).is_dir())
    keys = (
        {p.key for p in PAPERS}
        if not what
        else {p.key for c in claims(slugs) for p in c.papers}
        if slugs
        else set()
    )
    keys |= {key for folder in folders for key in _keys(folder)}
    return "\n\n".join([DISTALIGN, *(p.bibtex() for p in PAPERS if p.key in keys)])


def _keys(folder: Path) -> set[str]:
    """Keys of the papers that a run used, from its own record."""
    record = folder / "provenance.json"
    if record.is_file():
        source = json.loads(record.read_text(encoding="utf-8"))["source"]
        return {p.key for c in claims(tuple(source)) for p in c.papers}
    card = next((folder / name for name in _CARDS if (folder / name).is_file()), None)
    text = card.read_text(encoding="utf-8") if card else ""
    if _FENCE not in text:
        raise InputError(
            f"{folder} holds neither provenance.json (of `distalign verify`) nor a model card (of `distalign "
            "train`): give the folder of a run, or slugs of claims"
        )
    return {p.key for p in PAPERS if f"{{{p.key}," in text.split(_FENCE)[1].split("```")[0]}
