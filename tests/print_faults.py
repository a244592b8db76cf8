"""What can be wrong with a figure in print, measured on the figure itself: one function a kind of fault.

Sizes are in inches and points at the width of print; boxes and points are compared in display coordinates.
The size of a text is that of its letters: superscripts of mathtext are 0.7 of it.
"""

import re
from dataclasses import dataclass
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from distalign.figures import COLUMN, PAGE, STYLE

WIDTHS, SMALLEST, LONGEST = (COLUMN, PAGE), 6.0, 80  # inches, points, words of a caption
SLACK = 1.0  # pixels at 150 dpi, about half a point
MEANS = ("mean", "rms", "median", "error", "frequency", "tv", "difference_mean", "relative_size")


@dataclass
class Drawn:
    """A figure that is laid out, with what the measurements need of it."""

    table: pd.DataFrame
    figure: matplotlib.figure.Figure
    texts: list  # (box, text artist) of everything written outside legends
    legends: list  # boxes
    caption: str


def measured(figure, table=None, caption="exact"):
    """Lay a figure out and gather its texts and legends."""
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        figure.draw_without_rendering()
    texts = list(figure.texts)
    legends = list(figure.legends)
    for axes in figure.axes:
        legends += [axes.get_legend()] if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            texts += [t.label1 for t in ticks if low <= t.get_loc() <= high]
            texts += [axis.label, axis.offsetText]
        texts += [*axes.texts, *(_title(axes, side) for side in ("left", "center", "right"))]
    shown = [t for t in texts if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_window_extent(), t) for t in shown]
    return Drawn(pd.DataFrame() if table is None else table, figure, boxes, legends, caption)


def _title(axes, side):
    return {"left": axes._left_title, "center": axes.title, "right": axes._right_title}[side]


def points(axes):
    """(n, 2) marked points within the axes in display coordinates, and their radii in pixels."""
    found, radii = [np.empty((0, 2))], [np.empty(0)]
    for line in axes.lines:
        if line.get_marker() in (None, "None", "", " "):
            continue
        at = line.get_transform().transform(np.asarray(line.get_xydata(), float)[_marked(line)])
        at = at[np.isfinite(at).all(axis=1)]
        at = at[[axes.bbox.contains(*p) for p in at]] if len(at) else at
        found.append(at)
        radii.append(np.full(len(at), line.get_markersize() / 2 * axes.figure.dpi / 72))
    return np.concatenate(found), np.concatenate(radii)


def _marked(line):
    """Which points of a line have a marker."""
    every = line.get_markevery() or 1
    start, step = every if isinstance(every, tuple) else (0, every)
    return slice(start, None, step)


def _covers(box, at, radii):
    """How many of the points lie within a box or reach into it."""
    inside = (at > np.array(box.min) - radii[:, None]) & (at < np.array(box.max) + radii[:, None])
    return int(inside.all(axis=1).sum())


def _paths(axes):
    """Paths of lines, error bars and shaded bands in display coordinates."""
    for line in axes.lines:
        if line.get_linestyle() != "None" and len(line.get_xdata()) > 1:
            yield line.get_path().transformed(line.get_transform()), False
    for collection in axes.collections:
        for path in collection.get_paths():
            yield path.transformed(collection.get_transform()), not isinstance(collection, LineCollection)


def legend_over_data(d):
    found = []
    for legend in d.legends:
        for axes in d.figure.axes:
            box = Bbox.intersection(legend.get_window_extent(), axes.bbox)
            if box is None or min(box.width, box.height) < SLACK:
                continue
            marks = _covers(box, *points(axes))
            with np.errstate(invalid="ignore"):
                crossed = sum(
                    p.cleaned(remove_nans=True).intersects_bbox(box, filled=f) for p, f in _paths(axes)
                )
            if marks or crossed:
                found.append(f"{marks} markers and {crossed} lines or bars below a legend")
    return found


def text_over_text(d):
    boxes = [(b.padded(-SLACK), t.get_text()) for b, t in d.texts]
    boxes += [(x.get_window_extent().padded(-SLACK), "legend") for x in d.legends]
    return [f"{a!r} on {b!r}" for (p, a), (q, b) in combinations(boxes, 2) if p.overlaps(q)]


def text_over_markers(d):
    notes = {id(t) for axes in d.figure.axes for t in axes.texts}
    return [
        f"{t.get_text()!r} on {n} markers"
        for box, t in d.texts
        if id(t) in notes and (n := sum(_covers(box.padded(-SLACK), *points(a)) for a in d.figure.axes))
    ]


def outside(d):
    canvas = d.figure.bbox.padded(SLACK)
    boxes = [(b, t.get_text()) for b, t in d.texts] + [(x.get_window_extent(), "legend") for x in d.legends]
    boxes += [(a.bbox, "axes") for a in d.figure.axes]
    notes = [t for axes in d.figure.axes for t in axes.texts if isinstance(t, Annotation)]
    boxes += [(Bbox.null(), f"{t.get_text()}: beside no point") for t in notes if not t._check_xy()]
    return [
        what for b, what in boxes if not (canvas.contains(*b.min) and canvas.contains(*b.max)) or b.width < 1
    ]


def width(d):
    inches = d.figure.get_figwidth()
    return [] if min(abs(inches - w) for w in WIDTHS) < 1e-9 else [f"{inches:g} in"]


def small_text(d):
    written = [t for _, t in d.texts]
    for legend in d.legends:
        written += [*legend.get_texts(), legend.get_title()]
    small = [t for t in written if t.get_text() and t.get_fontsize() < SMALLEST - 1e-9]
    return [f"{t.get_text()!r} of {t.get_fontsize():g} pt" for t in small]


def letters(d):
    titles = [axes.get_title(loc="left") for axes in d.figure.axes]
    wanted = [f"({letter})" for letter in "abcdefgh"[: len(titles)]] if len(titles) > 1 else []
    return [f"{t!r} for {w}" for t, w in zip(titles, wanted) if not t.startswith(w)]


def _grey(colour):
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def same_look(d):
    """Two series of one panel that a reader in grey takes for one: they share marker and filling; or, if both
    are lines without markers, their dashes, and a lightness within 0.25.
    """
    found = []
    for axes in d.figure.axes:
        lines = [x for x in axes.lines if x.get_visible() and len(x.get_xdata())]
        marked = [x for x in lines if x.get_marker() not in (None, "None", "", " ", "_", "|")]
        looks = {
            (x.get_color(), x.get_marker(), to_rgb(x.get_markerfacecolor()) == (1, 1, 1) or _hollow(x))
            for x in marked
        }
        found += [
            f"marker {a[1]!r} for {a[0]} and {b[0]}"
            for a, b in combinations(sorted(looks), 2)
            if a[0] != b[0] and a[1:] == b[1:]
        ]
        named = [x for x in lines if x not in marked and not str(x.get_label()).startswith("_")]
        found += [
            f"lines {a.get_label()!r} and {b.get_label()!r}"
            for a, b in combinations(named, 2)
            if a._unscaled_dash_pattern == b._unscaled_dash_pattern
            and abs(_grey(a.get_color()) - _grey(b.get_color())) < 0.25
        ]
    return found


def _hollow(line):
    return line.get_fillstyle() == "none" or str(line.get_markerfacecolor()) == "none"


def intervals(table):
    """(mean, low, high) of every number of a table that has an interval."""
    found = [np.empty((0, 3))]
    for low in (c for c in table.columns if re.search(r"(^|_)low(_|$)", c)):
        high = low.replace("low", "high")
        names = {low.replace("low", "mean"), low.replace("_low", ""), low.replace("low_", "")}
        names |= set(MEANS) if low == "low" else set()
        for name in names & set(table.columns):
            rows = table[[name, low, high]].to_numpy(float)
            value, least, most = rows.T
            found.append(rows[(least <= value) & (value <= most) & (most - least > 1e-9)])
    return np.concatenate(found)


def intervals_not_drawn(d):
    """Marked points that have an interval in the table and none in the figure; and figures that draw none at
    all although their caption does not say that they are exact.
    """
    known, found, any_drawn = intervals(d.table), [], False
    for axes in d.figure.axes:
        bars = [p.vertices.ravel() for c in axes.collections for p in c.get_paths()]
        any_drawn |= bool(bars)
        marked = [np.asarray(x.get_xydata(), float) for x in axes.lines if x.get_marker() != "None"]
        bounds = [np.asarray(x.get_xydata(), float).ravel() for x in axes.lines if x.get_marker() == "None"]
        ends = np.concatenate([np.empty(0), *bars, *bounds])
        seen, missing = 0, 0
        for direction in (1, 0):  # values stand along y; along x where none does along y
            values = np.unique(np.concatenate([np.empty(0), *(m[:, direction] for m in marked)]))
            for value in (
                values[np.isfinite(values) & (values != 0) & ~np.isclose(values, 1)] if not seen else ()
            ):
                mine = known[np.abs(known[:, 0] - value) <= 1e-12 * abs(value)]
                seen += bool(len(mine))
                missing += bool(len(mine)) and not any(
                    _drawn(ends, p) and _drawn(ends, q) for _, p, q in mine
                )
        found += [f"{missing} of {seen} values"] if missing else []
    if not any_drawn and "exact" not in d.caption.lower():
        found.append("none is drawn, and the caption does not say that the numbers are exact")
    return found


def _drawn(ends, value):
    return bool(np.isclose(ends, value, rtol=1e-7, atol=1e-14).any())


def series_not_seen(d):
    """Series without one point within their panel: no such rows, all NaN, or beyond the axes.

    A grey line without points is a key of the legend and no series.
    """
    found = []
    for axes in d.figure.axes:
        for line in axes.lines:
            at = line.get_transform().transform(np.asarray(line.get_xydata(), float))
            at = at[np.isfinite(at).all(axis=1)]
            red, green, blue = to_rgb(line.get_color())
            key = len(line.get_xdata()) == 0 and red == green == blue and 0 < red < 1
            box = axes.bbox.padded(SLACK)
            if not key and not any(box.contains(*p) for p in at):
                found.append(f"{line.get_label()} {line.get_color()} {line.get_marker()}")
    return found


def caption_silent(d):
    """A caption that does not say whether its numbers are exact, or what their intervals are."""
    words = ("interval", "exact", "range")
    return [] if any(word in d.caption.lower() for word in words) else [d.caption]


def long_caption(d):
    words = len(d.caption.split())
    return [f"{words} words"] if not 0 < words <= LONGEST else []


KINDS = {
    f.__name__: f
    for f in (
        width,
        small_text,
        legend_over_data,
        text_over_text,
        text_over_markers,
        outside,
        letters,
        same_look,
        intervals_not_drawn,
        long_caption,
        caption_silent,
        series_not_seen,
    )
}
