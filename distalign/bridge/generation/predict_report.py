"""A prediction as files, as a figure, and as the lines of a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distalign.bridge.generation.judge_report import records
from distalign.bridge.generation.prediction import Prediction
from distalign.figures import METHODS, STYLE, new, save, write_table
from distalign.files import write_text

COLUMNS = ("method", "at", "KL", "utility gained [95 %]", "worst-off", "entropy", "distortion [95 %]", "size")
LINES = 11
"""Lines of the terminal for methods and refusals together."""
_LOOKS = {
    "DPO, RLHF": "DPO",
    "IPO": "Borda",
    "NLHF": "NLHF",
    "optimum": "optimum",
    "p+": "RDRO",
    "KLDPO": "KLDPO",
    "f-DPO (forward_kl)": "forward_kl",
    "f-DPO (jensen_shannon)": "jensen_shannon",
    "f-DPO": "alpha:0.3",
}
"""Colour and marker of a method: those of `distalign.figures.METHODS` that it has in other figures."""


def write(found: Prediction, out: Path, *, asked: Mapping[str, Any], title: str = "") -> None:
    """Write predict.csv, frontier.csv, predict.json, notes.txt and the figure frontier.

    Args:
        found: the prediction.
        out: folder.
        asked: what was predicted from, for predict.json.
        title: what the figure's caption begins with.

    Raises:
        InputError: a file cannot be written.
    """
    write_table(found.table, out / "predict.csv")
    whole = {
        "asked": dict(asked),
        "methods": records(found.table),
        "frontier": records(found.frontier),
        "notes": list(found.notes),
    }
    write_text(out / "predict.json", json.dumps(whole, indent=1) + "\n")
    write_text(out / "notes.txt", "".join(note + "\n" for note in found.notes))
    caption = (
        f"{title}Largest average utility, above the reference's, at each KL to the reference (line, with its "
        "95 % interval over prompts), and where each method will end (marks, with theirs). Nothing was "
        "trained."
    )
    with rc_context(STYLE):
        save(draw(found), out / "frontier", caption, _drawn(found))


def lines(table: pd.DataFrame) -> tuple[list[tuple[str, ...]], list[str]]:
    """Rows of the terminal's table, and sentences below it, together at most 12.

    Args:
        table: of a `Prediction`.
    """
    rows = table.to_dict("records")
    refused = [f"{_named(row)} is refused: {row['refused']}" for row in rows if row["refused"]]
    below = refused[: max(1, LINES - len(rows))]
    shown = rows[: LINES - len(below)]
    if left := len(rows) - len(shown) + len(refused) - len(below):
        below.append(f"{left} more lines are in predict.csv")
    known = "distortion" in table  # not so where the best policy of the ball is refused
    return [_line(row, known) for row in shown], below


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['method']}, {_at(row)}".removesuffix(", ")


def _at(row: Mapping[str, Any]) -> str:
    strength = row["strength"]
    return "" if pd.isna(strength) else f"{row['strength_name']} {strength:.3g}"


def _line(row: Mapping[str, Any], known: bool) -> tuple[str, ...]:
    if row["refused"]:
        return (row["method"], _at(row), "refused", "", "", "", "", _number(row, "effective_size", ".0f"))
    return (
        row["method"],
        _at(row),
        _number(row, "kl"),
        _with_ends(row, "gain"),
        _number(row, "worst_off"),
        _number(row, "entropy", ".4g"),
        _with_ends(row, "distortion") or ("outside" if known else ""),
        _number(row, "effective_size", ".0f"),
    )


def _number(row: Mapping[str, Any], name: str, form: str = ".3f") -> str:
    value = row.get(name)
    return "" if value is None or pd.isna(value) else format(round(value, 9) + 0.0, form)


def _with_ends(row: Mapping[str, Any], name: str) -> str:
    value = _number(row, name)
    return value and f"{value} [{_number(row, f'{name}_low')}, {_number(row, f'{name}_high')}]"


def _drawn(found: Prediction) -> pd.DataFrame:
    """The numbers of the figure."""
    line = found.frontier.assign(method="frontier", strength=np.nan)
    kept = [*line.columns, "kl_low", "kl_high"]
    return pd.concat([line, _points(found)], ignore_index=True).reindex(columns=kept)


def _points(found: Prediction) -> pd.DataFrame:
    table = found.table
    return pd.DataFrame(table[(table.refused == "") & (table.method != "reference")])


def draw(found: Prediction) -> Figure:
    """The frontier as a line, methods as marks with intervals and their names beside them."""
    figure, (axes,) = new(width=5.2, height=3.2)
    line, points = found.frontier, _points(found)
    axes.fill_between(line.kl, line.gain_low, line.gain_high, color="0.88", linewidth=0)
    axes.plot(line.kl, line.gain, color="black", linewidth=1.1)
    for row in points.to_dict("records"):
        look = next(look for start, look in _LOOKS.items() if row["method"].startswith(start))
        colour, marker, _ = METHODS[look]
        x, y = row["kl"], row["gain"]
        axes.errorbar(
            x,
            y,
            xerr=[[max(x - row["kl_low"], 0)], [max(row["kl_high"] - x, 0)]],
            yerr=[[max(y - row["gain_low"], 0)], [max(row["gain_high"] - y, 0)]],
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor="none",
            elinewidth=0.6,
        )
    axes.set(xlabel="KL to the reference (nats)", ylabel="average utility gained")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _labels(axes, points)
    return figure


def _labels(axes: Axes, points: pd.DataFrame) -> None:
    """Names in a column at the right, as near to the height of their marks as they fit, with leaders."""
    bottom, top = axes.get_ylim()
    order = points.sort_values("gain")
    step, wanted = (top - bottom) / 16, order.gain.to_numpy(float)
    if not len(wanted):
        return
    step = min(step, (top - bottom) / len(wanted))
    places = wanted.copy()
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    over = max(places[-1] - (top - step / 2), 0)
    for i in range(len(places) - 1, -1, -1):
        limit = places[i] - over if i == len(places) - 1 else places[i + 1] - step
        places[i] = min(places[i], limit)
    for y, row in zip(places, order.to_dict("records"), strict=True):
        axes.annotate(
            _named(row),
            xy=(row["kl"], row["gain"]),
            xytext=(1.02, y),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=6.5,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linewidth": 0.3,
                "color": "0.5",
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )
