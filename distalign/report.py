"""One page of what a run left in its folder: `distalign report FOLDER`.

The page is one file that refers to no other: the texts, tables, figures and settings that `train`,
`evaluate`, `predict` or `judge` wrote, with curves of a training run. `train` and `evaluate` end with it, and
`verify` and `simulate` write such a page of their own, `index.html`.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import pandas as pd

from distalign.checks import InputError
from distalign.figures import draw_metrics, picture
from distalign.files import write_text
from distalign.simulation.page import document, image

ROWS = 50
"""Rows of a table that are shown."""
_KEPT_OUT = ("cells", "cache", "checkpoint", "damaged-")  # folders that a run goes on from, or put aside
_CURVES = ("loss", "rewards/accuracies", "rewards/margins", "reward", "kl")
_SETTINGS = (".yaml", ".yml", ".json")
_LARGEST = 200_000  # bytes of a text or of settings


def report(folder: Path | str) -> Path:
    """Write the page of a run and say where it is.

    Args:
        folder: of a run.

    Returns:
        `report.html` in the folder, or the `index.html` that `verify` or `simulate` wrote there.

    Raises:
        InputError: there is no such folder, or nothing in it that could be shown.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "metrics.csv").write_text("step,loss\\n1,0.7\\n2,0.6\\n")
        >>> report(folder).name
        'report.html'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the --out or output_dir of a run")
    if (folder / "index.html").is_file():
        return folder / "index.html"
    files = [(path, path.relative_to(folder).as_posix()) for path in _files(folder)]
    parts = [part for shown in (_curves, _shown) for path, name in files for part in shown(path, name)]
    if not parts:
        raise InputError(
            f"{folder} holds no text, table, figure or settings: give the --out or output_dir of a run"
        )
    name, page = folder.resolve().name, folder / "report.html"
    write_text(page, document(name, [f"<h1>{escape(name)}</h1>", *parts]))
    return page


def _files(folder: Path) -> list[Path]:
    """Files to show: texts first, then figures, tables and settings; those at the top before those below."""
    order = (".md", ".txt", ".png", ".csv", *_SETTINGS)
    found = [p for p in folder.rglob("*") if p.is_file() and p.suffix in order]
    inside = [(p, p.relative_to(folder).parts) for p in found]
    kept = [(p, parts) for p, parts in inside if not any(x.startswith(_KEPT_OUT) for x in parts[:-1])]
    kept = [(p, parts) for p, parts in kept if not any(x.startswith(".") for x in parts)]
    return [p for p, parts in sorted(kept, key=lambda x: (order.index(x[0].suffix), len(x[1]), x[1]))]


def _curves(path: Path, name: str) -> Iterator[str]:
    """Curves of a training run, where a file is its metrics."""
    table = _table(path) if path.suffix == ".csv" else None
    if table is None or not {"step", "loss"} <= set(table.columns):
        return
    logged = {str(column) for column in table.columns[table.notna().any()]}
    shown = [column for column in _CURVES if column in logged]
    if shown:
        title = f"{', '.join(shown)} by update"
        yield f"<h2>{escape(title)}, {escape(name)}</h2>" + image(title, picture(draw_metrics(table, shown)))


def _shown(path: Path, name: str) -> Iterator[str]:
    """The parts of the page that a file makes."""
    head = f"<h2>{escape(name)}</h2>"
    if path.suffix == ".png":
        yield head + image(name, path.read_bytes())
    elif path.suffix == ".csv":
        table = _table(path)
        if table is not None:
            yield head + _rows(table)
    elif path.stat().st_size <= _LARGEST:
        text = f"<pre>{escape(path.read_text(encoding='utf-8', errors='replace').strip())}</pre>"
        closed = path.suffix in _SETTINGS
        yield f"<details><summary>{escape(name)}</summary>{text}</details>" if closed else head + text


def _table(path: Path) -> pd.DataFrame | None:
    """A table, or None where the file is none."""
    try:
        return pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError):
        return None


def _rows(table: pd.DataFrame) -> str:
    left = len(table) - ROWS
    below = f"<p>{left} more rows are in the file.</p>" if left > 0 else ""
    shown = table.head(ROWS).to_html(index=False, na_rep="", float_format=lambda x: f"{x:.4g}", border=0)
    return f'<div class="wide">{shown}</div>{below}'
