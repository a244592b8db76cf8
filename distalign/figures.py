"""One style for every figure: paper width, readable in grey, bytes that do not depend on the day.

A method keeps its colour, marker and line from figure to figure. A figure is `COLUMN` or `PAGE` inches
wide, its smallest text has six points, its panels are lettered, and its legends stand below the panels, so
that they cover no data whatever the table. Figures are drawn from committed tables by
`paper_figures/<slug>.py`, each with one function `draw(table) -> Figure` and a docstring that is the first
part of the caption.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation
from PIL.Image import Dither
from PIL.Image import open as open_image

from distalign.checks import InputError, one_of
from distalign.files import committed_folder, figure_folders, write_text, write_whole

COLUMN, PAGE = 3.25, 6.75  # inches: the width of one column, and of the whole page

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on the age of matplotlib's own fonts

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.titlelocation": "left",
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.2,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.alpha": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "mathtext.fontset": "cm",
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}

# Okabe-Ito hues whose luminance also differs; marker and line tell them apart in grey.
METHODS = {
    "RDRO": ("#0072B2", "o", "-"),
    "DDRO": ("#56B4E9", "s", "--"),
    "SFT": ("#000000", "^", "-."),
    "DPO": ("#D55E00", "v", ":"),
    "KLDPO": ("#009E73", "o", "-"),
    "WDPO": ("#CC79A7", "D", "--"),
    "Dr. DPO": ("#E69F00", "s", "--"),
    "AOT": ("#0072B2", "o", "-"),
    "f-DPO": ("#009E73", "s", "--"),
    "NLHF": ("#0072B2", "o", "-"),
    "maximal lottery": ("#56B4E9", "D", "--"),
    "RLHF": ("#D55E00", "v", ":"),
    "Borda": ("#E69F00", "s", "-."),
    "optimum": ("#000000", "^", "-."),
    "reference": ("#777777", "x", ":"),
    "reverse_kl": ("#D55E00", "v", ":"),
    "forward_kl": ("#0072B2", "o", "-"),
    "alpha:0.3": ("#009E73", "s", "--"),
    "jensen_shannon": ("#CC79A7", "D", "-."),
    "squared_hellinger": ("#56B4E9", "^", "--"),
    "jeffreys": ("#E69F00", "P", "-"),
    "chi2_plus_kl": ("#777777", "x", ":"),
    "chi2": ("#000000", "^", "-"),
    "total_variation": ("#56B4E9", "s", "--"),
}
DIVERGENCES = {  # their names on figures
    "reverse_kl": "reverse KL (DPO)",
    "forward_kl": "forward KL",
    "alpha:0.3": r"$\alpha = 0.3$",
    "jensen_shannon": "Jensen-Shannon",
    "squared_hellinger": "squared Hellinger",
    "jeffreys": "Jeffreys",
    "chi2_plus_kl": r"$\chi^2$ + KL",
    "chi2": r"Pearson $\chi^2$",
    "total_variation": "total variation",
}
BOUND = {"color": "black", "linewidth": 0.9, "linestyle": (0, (4, 2))}


def new(width: float | None = None, height: float = 2.4, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` axes side by side in the common style.

    Args:
        width: inches; by default one column for one panel, and the page for several.
        height: inches, the legends below the panels included.
        panels: how many.
    """
    with matplotlib.rc_context(STYLE):
        size = (width or (COLUMN if panels == 1 else PAGE), height)
        figure = Figure(figsize=size, layout="constrained")
        return figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


def letter(figure: Figure) -> None:
    """Put (a), (b), ... before the titles of a figure of several panels."""
    if len(figure.axes) > 1:
        for i, axes in enumerate(figure.axes):
            axes.set_title(f"({chr(ord('a') + i)}) {axes.get_title(loc='left')}".strip(), loc="left")


def legend_below(of: Figure | Axes, columns: int = 1, title: str = "") -> Legend:
    """A legend below a panel, or one below the whole figure that names each series of its panels once.

    It stands below ticks and axis label, which are to be set before.
    """
    panels = of.axes if isinstance(of, Figure) else [of]
    named = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    entries: dict[str, Any] = {"ncols": columns, "title": title or None}
    if isinstance(of, Figure):
        return of.legend(named.values(), named.keys(), loc="outside lower center", **entries)
    ticks = max((t.get_text().count("\n") for t in of.get_xticklabels()), default=0)
    points = 30 + 8.5 * ticks + 9.5 * of.get_xlabel().count("\n")
    inches = cast(Figure, of.figure).dpi_scale_trans
    return of.legend(
        named.values(),
        named.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=of.transAxes + ScaledTranslation(0, -points / 72, inches),
        **entries,
    )


def label_at(
    axes: Axes, x: float, y: float, text: str, colour: str = "0.2", shift: tuple[float, float] = (4, 0)
) -> None:
    """Write a series' name beside one of its points: a direct label, in its colour, darkened.

    Args:
        axes: the panel.
        x: the point, in units of the data.
        y: the point, in units of the data.
        text: the name.
        colour: the series' colour.
        shift: points to the right of and above the point; the text begins there, or ends there if the first
            number is negative.
    """
    axes.annotate(
        text,
        (x, y),
        xytext=shift,
        textcoords="offset points",
        color=[0.7 * part for part in to_rgb(colour)],
        fontsize=6.5,
        ha="center" if shift[0] == 0 else "left" if shift[0] > 0 else "right",
        va="center" if shift[1] == 0 else "bottom" if shift[1] > 0 else "top",
    )


def line(
    axes: Axes,
    method: str,
    x: pd.Series,
    y: pd.Series,
    low: pd.Series | None = None,
    high: pd.Series | None = None,
    label: str | None = None,
) -> None:
    """Draw one method with its colour, marker and line, and its interval as error bars."""
    colour, marker, style = METHODS[method]
    axes.plot(x, y, color=colour, marker=marker, linestyle=style, label=label or method)
    if low is not None and high is not None:
        axes.errorbar(
            x,
            y,
            yerr=np.clip([y - low, high - y], 0, None),
            fmt="none",
            ecolor=colour,
            elinewidth=0.8,
            capsize=1.5,
        )


def points(
    axes: Axes,
    x: pd.Series | np.ndarray,
    rows: pd.DataFrame,
    names: tuple[str, str, str] = ("mean", "low", "high"),
    **look: Any,
) -> None:
    """Markers at the means of some rows, with their intervals as error bars.

    Args:
        axes: the panel.
        x: where the rows stand.
        rows: some rows of a table.
        names: the columns of mean, low and high.
        look: colour, marker and label; a linestyle joins the means.
    """
    mean, low, high = (rows[name] for name in names)
    error = np.clip([mean - low, high - mean], 0, None)
    axes.errorbar(x, mean, error, **{"linestyle": "none", "elinewidth": 0.8, "capsize": 1.5, **look})


def guide(axes: Axes, x: pd.Series, start: float, exponent: float, label: str) -> None:
    """A thin guide line of slope `exponent` on log-log axes, from `start` at the first x."""
    n = np.asarray(x, float)
    axes.plot(
        n, start * (n / n[0]) ** exponent, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)), label=label
    )


def draw_metrics(table: pd.DataFrame, names: Sequence[str] = ()) -> Figure:
    """Metrics of a training run over its updates, one axes each; crosses are values on held-out data.

    Args:
        table: metrics.csv of a run.
        names: its columns; none means loss and rewards/margins, where there are both.

    Raises:
        InputError: a column that the table has not.
    """
    logged = [str(column) for column in table.columns[table.notna().any()]]
    usual = [name for name in ("loss", "rewards/margins") if name in logged]
    shown = list(names) or usual
    for name in shown:
        one_of("metric", name, logged)
    with matplotlib.rc_context(STYLE):
        figure, panels = new(2.25 * len(shown) if len(shown) > 3 else None, panels=len(shown))
        for axes, name in zip(panels, shown, strict=True):
            for column, style, label in ((name, "-", "training"), (f"eval/{name}", "x:", "held out")):
                rows = table.loc[table[column].notna()] if column in table else table.iloc[:0]
                if len(rows):
                    axes.plot(rows["step"], rows[column], style, label=label)
            axes.set(xlabel="update", ylabel=name)
        legend_below(figure, columns=2)
        letter(figure)
    return figure


def save(
    figure: Figure, base: Path, caption: str, table: pd.DataFrame, kinds: Sequence[str] = ("pdf", "png")
) -> None:
    """Write `base`.pdf, .png, .csv (the numbers drawn) and .txt (the caption); the bytes do not depend on the
    date.

    Args:
        figure: what is drawn.
        base: the files' path without a suffix.
        caption: what the figure shows.
        table: the numbers drawn.
        kinds: `pdf`, `png` or both. A PDF takes twice the time of a PNG.
    """
    date = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    for kind in kinds:
        metadata, drawn = date[kind], io.BytesIO()  # matplotlib's writer of PDF hides that a disk is full
        with matplotlib.rc_context(STYLE):
            figure.savefig(drawn, format=kind, metadata=metadata)
        write_whole(base.with_suffix(f".{kind}"), lambda p, drawn=drawn: p.write_bytes(drawn.getvalue()))
    write_table(table, base.with_suffix(".csv"))
    write_text(base.with_suffix(".txt"), caption + "\n")


def picture(figure: Figure | str, dpi: int = 90) -> bytes:
    """A figure as a small PNG of 32 colours, for a notebook or a page: most need less than 20 kB.

    Args:
        figure: the figure, or the slug of a claim, whose committed table is drawn.
        dpi: pixels an inch.

    Raises:
        InputError: no claim of that slug has a figure.

    Example:
        >>> picture("aot_rate")[1:4]
        b'PNG'
    """
    if isinstance(figure, str):
        figure = drawing(figure)(pd.read_csv(committed(figure)))
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    open_image(drawn).convert("RGB").quantize(32, dither=Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a tidy table as CSV with every digit, so that reading it back gives the same numbers."""
    write_whole(path, lambda p: table.to_csv(p, index=False, lineterminator="\n"))


def committed(slug: str) -> Path:
    """Where the committed table of a claim lies, whether or not it is there."""
    return committed_folder() / "tables" / f"{slug}.csv"


def described(slug: str) -> str:
    """What a claim's figure shows: the docstring of the file that draws it, on one line.

    Raises:
        InputError: the claim has no figure.
    """
    return " ".join((_drawn_by(slug).__doc__ or "").split())


def drawing(slug: str) -> Callable[[pd.DataFrame], Figure]:
    """The `draw` function of `paper_figures/<slug>.py`, from the repository or from the installed package.

    Raises:
        InputError: the claim has no figure.
    """
    draw = _drawn_by(slug).draw

    def styled(table: pd.DataFrame) -> Figure:
        with matplotlib.rc_context(STYLE):
            figure = draw(table)
            letter(figure)
        return figure

    return styled


def _drawn_by(slug: str) -> ModuleType:
    path = next((f / f"{slug}.py" for f in figure_folders() if (f / f"{slug}.py").is_file()), None)
    if path is None:
        raise InputError(
            f"{slug} has no figure: it is a plain identity; `distalign show {slug}` prints what it tests"
        )
    return _module(path)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"paper_figures_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
