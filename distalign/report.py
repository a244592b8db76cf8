"""One page of what a run left in its folder: `distalign report FOLDER`.

The page is one file that refers to no other: the texts, tables, figures and settings that `train`,
`evaluate`, `simulate`, `predict` or `judge` wrote. `verify` writes such a page itself, `index.html`.

Source: ours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pandas as pd

from distalign.checks import InputError
from distalign.figures import COLUMN, new, picture
from distalign.files import write_text

ROWS = 50
"""Rows of a table that are shown."""
_KEPT_OUT = ("cells", "cache", "checkpoint")  # folders whose names begin so hold what a run needs to go on
_SETTINGS = (".yaml", ".yml", ".json")
_LARGEST = 200_000  # bytes of a text or of settings
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; border: 0; }
th, td { border: 0; border-bottom: 1px solid #ddd; padding: .2rem .6rem .2rem 0; text-align: left; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.4 ui-monospace, monospace; }
img { max-width: 100%; max-height: 27rem; } summary { cursor: pointer; }
"""


def report(folder: Path | str) -> Path:
    """Write the page of a run and say where it is.

    Args:
        folder: of a run.

    Returns:
        `report.html` in the folder, or the `index.html` that `verify` wrote there.

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
    if (folder / "ledger.csv").is_file() and (folder / "index.html").is_file():
        return folder / "index.html"
    parts = [part for path in _files(folder) for part in _shown(path, path.relative_to(folder).as_posix())]
    if not parts:
        raise InputError(
            f"{folder} holds no text, table, figure or settings: give the --out or output_dir of a run"
        )
    name = escape(folder.resolve().name)
    page = folder / "report.html"
    write_text(
        page,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n",
    )
    return page


def _files(folder: Path) -> list[Path]:
    """Files to show: texts first, then figures, tables and settings; those at the top before those below."""
    order = (".md", ".txt", ".png", ".csv", *_SETTINGS)
    found = [p for p in folder.rglob("*") if p.is_file() and p.suffix in order and p.name[0] != "."]
    inside = [(p, p.relative_to(folder).parts) for p in found]
    kept = [(p, parts) for p, parts in inside if not any(x.startswith(_KEPT_OUT) for x in parts[:-1])]
    return [p for p, parts in sorted(kept, key=lambda x: (order.index(x[0].suffix), len(x[1]), x[1]))]


def _shown(path: Path, name: str) -> Iterator[str]:
    """The parts of the page that a file makes."""
    head = f"<h2>{escape(name)}</h2>"
    if path.suffix == ".png":
        yield head + _image(path.read_bytes(), name)
    elif path.suffix == ".csv":
        table = _table(path)
        if table is not None and {"step", "loss"} <= set(table.columns):
            yield f"<h2>loss of {escape(name)}</h2>" + _image(_curve(table), "loss by update")
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


def _curve(metrics: pd.DataFrame) -> bytes:
    """The loss of each logged update as a picture."""
    figure, (axes,) = new(2 * COLUMN)
    axes.plot(metrics["step"], metrics["loss"], color="#0072B2")
    axes.set(xlabel="update", ylabel="loss")
    return picture(figure)


def _image(data: bytes, name: str) -> str:
    return f'<p><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(data).decode()}"></p>'
