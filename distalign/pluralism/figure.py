"""The figure of one population: what its users get from each method, or along one number that was swept."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from distalign.figures import BOUND, METHODS, STYLE, new

_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
_MARKERS, _LINES = ("o", "s", "v", "D", "^", "P", "X"), ("-", "--", "-.", ":")
_GROUP_MARKERS = ("$A$", "$B$", "$C$", "$D$", "$E$", "$F$")


def draw_population(table: pd.DataFrame, groups: pd.DataFrame, field: str | None = None) -> Figure:
    """The figure of one population: one row of dots a method, or lines over the field that was swept.

    Args:
        table: rows of `distalign.pluralism.grid.summary`.
        groups: columns method, group, utility (means over seeds); drawn as letters if there are at most six
            groups, and only where nothing was swept.
        field: the number that was swept; None where nothing was.
    """
    with mpl.rc_context(STYLE):
        shown = table.loc[table["average_utility"].notna()]
        return _dots(shown, groups) if field is None else _lines(shown, field)


def _dots(table: pd.DataFrame, groups: pd.DataFrame) -> Figure:
    figure, (left, right) = new(3.4, 0.8 + 0.25 * len(table), panels=2)
    place = np.arange(len(table))[::-1]
    names = sorted(set(groups["group"]))
    names = names if len(names) <= len(_GROUP_MARKERS) else []
    left.plot([], [], marker="o", color="black", linestyle="none", label="average over users")
    left.plot(
        [],
        [],
        marker="d",
        color="0.35",
        markersize=3,
        markerfacecolor="white",
        linestyle="none",
        label="tenth percentile",
    )
    left.plot([], [], marker="|", color="0.35", markersize=5, linestyle="none", label="worst-off user")
    for g, name in enumerate(names):
        left.plot(
            [],
            [],
            marker=_GROUP_MARKERS[g],
            color="black",
            markersize=4.5,
            markeredgewidth=0,
            linestyle="none",
            label=f"group {name}",
        )
    for y, (_, row) in zip(place, table.iterrows(), strict=True):
        _dot(left, row, "average_utility", y)
        left.plot(
            row["tenth_percentile"],
            y,
            marker="d",
            color="0.35",
            markersize=3,
            markerfacecolor="white",
            zorder=3,
        )
        left.plot(row["worst_off"], y, marker="|", color="0.35", markersize=5)
        for g, name in enumerate(names):
            of = groups[(groups["method"] == row["method"]) & (groups["group"] == name)]["utility"]
            left.plot(
                of,
                np.full(len(of), y - 0.3),
                marker=_GROUP_MARKERS[g],
                color="black",
                markersize=4.5,
                markeredgewidth=0,
                linestyle="none",
            )
        if np.isfinite(row["distortion"]):
            _dot(right, row, "distortion", y)
        else:
            right.annotate(f"{row['distortion']:g}", (1, y), fontsize=7, va="center")
    left.set(xlabel="utility", ylabel="method", yticks=place, yticklabels=table["method"], xlim=(-0.02, 1.02))
    right.set(xlabel="distortion in the method's own ball", yticks=place, yticklabels=[])
    _distortion_axis(right, table)
    right.axvline(table["bound"].iloc[0], **BOUND, label="C, NLHF's and the maximal lottery's guarantee")
    for axes, columns in ((left, 2), (right, 1)):
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns)
    return figure


def _distortion_axis(axes: Axes, table: pd.DataFrame) -> None:
    values = table[["distortion", "distortion_high", "bound"]].to_numpy(float)
    axes.set_xscale("log")
    top = 1.15 * max(float(values[np.isfinite(values)].max(initial=1)), 1.5)
    axes.set_xlim(0.97, top)
    _plain_log(axes.xaxis, top)


def _dot(axes: Axes, row: pd.Series, measure: str, y: float) -> None:
    low, value, high = row[f"{measure}_low"], row[measure], row[f"{measure}_high"]
    span = np.nan_to_num(np.clip([[value - low], [high - value]], 0, None), posinf=0)
    axes.errorbar(
        value, y, xerr=span, fmt="o", color=_style(str(row["method"]), 0)[0], elinewidth=1, capsize=2
    )


def _lines(table: pd.DataFrame, field: str) -> Figure:
    figure, (left, right) = new(3.4, 3.4, panels=2)
    x = np.unique(table[field].to_numpy(float))
    wide = x[-1] > 20 * x[0] > 0
    names = list(table["method"].unique())
    for i, method in enumerate(names):
        rows = table.loc[table["method"] == method].sort_values(field)
        apart = 0.012 * (i / max(len(names) - 1, 1) - 0.5)  # beside one another, not over one another
        at = rows[field] * np.exp(apart * np.log(x[-1] / x[0])) if wide else rows[field] + apart * np.ptp(x)
        for axes, measure in ((left, "average_utility"), (right, "distortion")):
            _line(axes, method, i, at.to_numpy(float), rows, measure)
    found = table["distortion"].to_numpy(float)
    top = float(found[np.isfinite(found)].max(initial=1))
    bound = table.drop_duplicates(field).sort_values(field)
    if bound["bound"].to_numpy(float).min() < 3 * top:
        right.plot(bound[field], bound["bound"], **BOUND, label="C, NLHF's guarantee")
    right.set(
        xlabel=field,
        ylabel="distortion in the method's own ball",
        yscale="log",
        ylim=(0.98, 1.15 * max(top, 1.2)),
    )
    left.set(xlabel=field, ylabel="average utility")
    _plain_log(right.yaxis, top)
    for axes in (left, right):
        axes.set_xscale("log" if wide else "linear")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def _line(axes: Axes, method: str, place: int, x: np.ndarray, rows: pd.DataFrame, measure: str) -> None:
    y, low, high = (rows[f"{measure}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    on = np.isfinite(y)
    colour, marker, line = _style(method, place)
    axes.plot(x[on], y[on], color=colour, marker=marker, linestyle=line, label=method)
    span = np.nan_to_num(np.clip([y[on] - low[on], high[on] - y[on]], 0, None), posinf=0)
    if span.any():
        axes.errorbar(x[on], y[on], yerr=span, fmt="none", ecolor=colour, elinewidth=0.6, capsize=1)


def _plain_log(axis: Axis, top: float) -> None:
    ticks = (1, 1.5, 2, 3, 5) if top > 4 else (1, 1.2, 1.5, 2, 3) if top > 1.6 else (1, 1.1, 1.2, 1.5)
    axis.set_major_locator(LogLocator(10, ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _style(method: str, place: int) -> tuple[str, str, str]:
    """Colour, marker and line of a method: those of the package's figures, or else by place."""
    known = METHODS.get(method.split(",")[0] if method == "RLHF, no KL" else method)
    if known and method != "RLHF, no KL":
        return known
    return _HUES[place % 8] if known is None else known[0], _MARKERS[place % 7], _LINES[place % 4]
