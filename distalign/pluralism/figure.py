"""The figure of one population: what its users get from each method, or along one number that was swept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from distalign.checks import InputError
from distalign.figures import BOUND, METHODS, STYLE, guide, legend_below, letter, new
from distalign.pluralism.methods import OBJECTIVES, RULES
from distalign.simulation.rates import Slope

Style = tuple[str, str, str]
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
_MARKERS, _LINES = ("o", "s", "v", "D", "^", "P", "p", "<", ">", "h"), ("-", "--", "-.", ":")


def styles_of(methods: Iterable[str]) -> dict[str, Style]:
    """Colour, marker and line of each method; no two methods share them.

    Rules and objectives always have the same style, and rules the one of the paper's figures. What has
    options, and rules of one's own, get those that are left, in the order of the methods.

    Raises:
        InputError: there are more methods than styles.

    Example:
        >>> found = styles_of(["NLHF", "dpo", "dpo:beta=0.1", "mine"])
        >>> found["NLHF"], len(set(found.values()))
        (('#0072B2', 'o', '-'), 4)
    """
    wanted = list(dict.fromkeys(methods))
    fixed = _of_known()
    rest = _free(fixed)
    found = dict(fixed)
    for method in wanted:
        if method not in found:
            style = next(rest, None)  # pyright: ignore[reportArgumentType]
            if style is None:
                raise InputError(f"a figure of {len(wanted)} methods has no style left: draw fewer")
            found[method] = style
    return {method: distinct(found)[method] for method in wanted}


def distinct(styles: Mapping[str, Style]) -> Mapping[str, Style]:
    """The same styles; two names that share colour and marker are an error, whatever their lines.

    Raises:
        ValueError: two names share them.

    Example:
        >>> distinct({"a": ("red", "o", "-"), "b": ("red", "o", "--")})
        Traceback (most recent call last):
        ValueError: a and b share the style ('red', 'o')
    """
    owner: dict[tuple[str, str], str] = {}
    for name, (colour, marker, _) in styles.items():
        if owner.setdefault((colour, marker), name) != name:
            raise ValueError(f"{owner[colour, marker]} and {name} share the style {(colour, marker)}")
    return styles


def _of_known() -> dict[str, Style]:
    """The registry: every rule and objective with a style of its own."""
    known = {rule: METHODS[rule] for rule in RULES if rule in METHODS}
    rest = _free(known)
    for name in (*RULES, *OBJECTIVES):
        if name not in known:
            known[name] = next(rest)  # pyright: ignore[reportArgumentType]
    return dict(distinct(known))


def _free(taken: Mapping[str, Style]) -> Iterable[Style]:
    """Styles that nobody has: neighbours differ in colour, marker and line."""
    used = {style[:2] for style in taken.values()}
    for shift, (i, hue) in product(range(len(_MARKERS)), enumerate(_HUES)):
        marker = _MARKERS[(i + shift) % len(_MARKERS)]
        if (hue, marker) not in used:
            yield hue, marker, _LINES[(i + shift) % len(_LINES)]


def draw_curve(table: pd.DataFrame, method: str, measure: str, slope: Slope | None) -> Axes:
    """Mean error against the number of users, with 99 % intervals, and a guide of slope -1/2.

    Args:
        table: columns size, mean, low, high.
        method: its name.
        measure: what the error is.
        slope: told in the legend.
    """
    with mpl.rc_context(STYLE):
        _, (axes,) = new(height=2.6)
        colour, marker, line = styles_of([method])[method]
        told = "" if slope is None else f", slope {slope.estimate:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
        x, y = table["size"].to_numpy(float), table["mean"].to_numpy(float)
        axes.plot(x, y, color=colour, marker=marker, linestyle=line, label=f"{method}{told}")
        low, high = table["low"].to_numpy(float), table["high"].to_numpy(float)
        span = np.nan_to_num(np.clip([y - low, high - y], 0, None))
        axes.errorbar(x, y, yerr=span, fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5)
        if y[0] > 0 and len(x) > 1:
            guide(axes, table["size"], float(y[0]), -0.5, "slope -1/2")  # pyright: ignore[reportArgumentType]
        axes.set(xlabel="users", ylabel=measure, xscale="log")
        shown = np.concatenate([y, low])
        if (y > 0).any():
            axes.set(yscale="log", ylim=(0.6 * float(shown[shown > 0].min()), None))
        legend_below(axes)
        return axes


def draw_population(table: pd.DataFrame, field: str | None = None) -> Figure:
    """The figure of one population: one row of dots a method, or lines over the field that was swept.

    On the left is the gain: the average utility above that of the reference, as a share of the most that the
    ball of the KL budget allows. So methods whose average utilities agree in two digits can be told apart. On
    the right is the distortion. Where the ball allows nothing, the average utility takes the place of the
    gain.

    Args:
        table: rows of `distalign.pluralism.grid.summary`, or of `distalign.pluralism.apply_methods`.
        field: the number that was swept; None where nothing was.
    """
    with mpl.rc_context(STYLE):
        shown = table.loc[table["average_utility"].notna()]
        return _dots(shown) if field is None else _lines(shown, field)


def _shown_gain(table: pd.DataFrame) -> tuple[str, str]:
    """The measure on the left, and what it is called."""
    if bool(table["gain"].notna().to_numpy().all()):
        return "gain", "gain over the reference / most the ball allows"
    return "average_utility", "average utility"


def _dots(table: pd.DataFrame) -> Figure:
    figure, (left, right) = new(height=1.3 + 0.22 * len(table), panels=2)
    place = np.arange(len(table))[::-1]
    measure, name = _shown_gain(table)
    styles = styles_of(table["method"])
    for y, (_, row) in zip(place, table.iterrows(), strict=True):
        dot(left, row, ("", measure), y, styles[str(row["method"])])
        if np.isfinite(row["distortion"]):
            dot(right, row, ("", "distortion"), y, styles[str(row["method"])])
        else:
            right.annotate(f"{row['distortion']:g}", (1, y), fontsize=7, va="center")
    left.set(xlabel=name, ylabel="method", yticks=place, yticklabels=table["method"])
    if measure == "gain":
        left.axvline(0, color="0.6", linewidth=0.7, zorder=0)
        left.axvline(1, **BOUND, zorder=0, label="the most the ball allows")
    right.set(xlabel="distortion in the method's own ball", yticks=place, yticklabels=[])
    top = _distortion_axis(right, table)
    if table["bound"].iloc[0] < top:
        right.axvline(table["bound"].iloc[0], **BOUND, label="C, NLHF's and the maximal lottery's guarantee")
    name_hollow(left, table)
    for axes in (left, right):
        axes.set_ylim(-0.6, len(table) - 0.4)
        if axes.get_legend_handles_labels()[1]:
            legend_below(axes, 2)
    letter(figure)
    return figure


def name_hollow(axes: Axes, table: pd.DataFrame) -> None:
    """An entry of the legend for hollow markers, where there are any."""
    if table["off_budget"].any():  # pyright: ignore[reportGeneralTypeIssues]
        hollow: dict[str, Any] = {"color": "black", "markerfacecolor": "white", "linestyle": "none"}
        axes.plot([], [], marker="o", **hollow, label="hollow: off the budget")


def dot(axes: Axes, row: pd.Series, measures: tuple[str, str], y: float, style: Style) -> None:
    """One method with its intervals; hollow if it left the ball.

    Args:
        axes: the panel.
        row: of a summary.
        measures: on the vertical and on the horizontal axis; "" on the vertical one stands for `y`.
        y: the height where no measure stands for it.
        style: the method's.
    """
    across = measures[1]
    axes.errorbar(
        row[across],
        row[measures[0]] if measures[0] else y,
        xerr=span(row, across) if f"{across}_low" in row else None,
        yerr=span(row, measures[0]) if measures[0] else None,
        fmt=style[1],
        color=style[0],
        markerfacecolor="white" if row["off_budget"] else style[0],  # pyright: ignore
        elinewidth=0.8,
        capsize=1.5,
    )


def _distortion_axis(axes: Axes, table: pd.DataFrame) -> float:
    """Scale and limits of the axis of distortions; returns its upper end."""
    values = table[["distortion", "distortion_high"]].to_numpy(float)
    axes.set_xscale("log")
    top = 1.15 * max(float(values[np.isfinite(values)].max(initial=1)), 1.2)
    axes.set_xlim(0.97, top)
    _plain_log(axes.xaxis, top)
    return top


def span(rows: pd.Series | pd.DataFrame, measure: str) -> np.ndarray:
    """(2, n) how far the interval reaches to both sides; an end at infinity lies beyond every axis."""
    low, value, high = (np.atleast_1d(rows[f"{measure}{end}"]).astype(float) for end in ("_low", "", "_high"))
    return np.nan_to_num(np.clip([value - low, high - value], 0, None), posinf=1e6)


def _lines(table: pd.DataFrame, field: str) -> Figure:
    figure, (left, right) = new(height=3.4, panels=2)
    x = np.unique(table[field].to_numpy(float))
    wide = x[-1] > 20 * x[0] > 0
    names = list(table["method"].unique())
    styles, (shown, told) = styles_of(names), _shown_gain(table)
    for i, method in enumerate(names):
        rows = table.loc[table["method"] == method].sort_values(field)
        apart = 0.012 * (i / max(len(names) - 1, 1) - 0.5)  # beside one another, not over one another
        at = rows[field] * np.exp(apart * np.log(x[-1] / x[0])) if wide else rows[field] + apart * np.ptp(x)
        for axes, measure in ((left, shown), (right, "distortion")):
            _line(axes, method, styles[method], at.to_numpy(float), rows, measure)
    found = table["distortion"].to_numpy(float)
    top = float(found[np.isfinite(found)].max(initial=1))
    bound = table.drop_duplicates(field).sort_values(field)
    top = 1.15 * max(top, 1.2)
    if bound["bound"].to_numpy(float).min() < top:
        right.plot(bound[field], bound["bound"], **BOUND, label="C, NLHF's guarantee")
    right.set(
        xlabel=field,
        ylabel="distortion in the method's own ball",
        yscale="log",
        ylim=(0.98, top),
    )
    left.set(xlabel=field, ylabel=told)
    if shown == "gain":
        left.axhline(1, **BOUND, label="the most the ball allows")
        kept = table.loc[~table["off_budget"].astype(bool), "gain"]
        if len(kept):  # what left the ball may gain several times as much, and would flatten the others
            left.set_ylim(min(float(kept.min()), 0) - 0.05, 1.15 * max(float(kept.max()), 1))
            if float(table["gain"].to_numpy(float).max()) > left.get_ylim()[1]:
                left.set_title("off the budget: partly above", loc="right", fontsize=6.5)
    _plain_log(right.yaxis, top)
    for axes in (left, right):
        axes.set_xscale("log" if wide else "linear")
        if wide:
            axes.set_xticks(x if len(x) <= 8 else x[:: -(-len(x) // 8)], minor=False)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    legend_below(figure, columns=4)
    letter(figure)
    return figure


def _line(axes: Axes, method: str, style: Style, x: np.ndarray, rows: pd.DataFrame, measure: str) -> None:
    on = np.isfinite(rows[measure].to_numpy(float))
    colour, marker, line = style
    rows, x = rows.loc[on], x[on]
    y, off = rows[measure].to_numpy(float), rows["off_budget"].to_numpy(bool)
    label = f"{method} (off the budget)" if len(off) and off.all() else method
    face = "white" if len(off) and off.all() else colour
    axes.plot(x, y, color=colour, marker=marker, linestyle=line, markerfacecolor=face, label=label)
    if off.any() and not off.all():
        axes.plot(x[off], y[off], color=colour, marker=marker, linestyle="none", markerfacecolor="white")
    reach = span(rows, measure)
    if reach.any():
        axes.errorbar(x, y, yerr=reach, fmt="none", ecolor=colour, elinewidth=0.6, capsize=1)


def _plain_log(axis: Axis, top: float) -> None:
    ticks = (1, 1.5, 2, 3, 5) if top > 4 else (1, 1.2, 1.5, 2, 3) if top > 1.6 else (1, 1.1, 1.2, 1.5)
    axis.set_major_locator(LogLocator(10, ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
