"""One style for every figure: paper width, readable in grey, bytes that do not depend on the day.

A method keeps its colour, marker and line from figure to figure. Figures are drawn from committed tables by
`paper_figures/<slug>.py`, each with one function `draw(table) -> Figure`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distalign.checks import InputError
from distalign.files import committed_folder, figure_folders, write_text, write_whole

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on the age of matplotlib's own fonts

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
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


def new(width: float = 3.4, height: float = 2.5, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` axes side by side, each `width` x `height` inches (3.4 is one column), in the
    common style.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * panels, height), layout="constrained")
        return figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


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


def guide(axes: Axes, x: pd.Series, start: float, exponent: float, label: str) -> None:
    """A thin guide line of slope `exponent` on log-log axes, from `start` at the first x."""
    n = np.asarray(x, float)
    axes.plot(
        n, start * (n / n[0]) ** exponent, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)), label=label
    )


def save(figure: Figure, base: Path, caption: str, table: pd.DataFrame) -> None:
    """Write `base`.pdf, .png, .csv (the numbers drawn) and .txt (the caption); the bytes do not depend on the
    date.
    """
    with matplotlib.rc_context(STYLE):
        write_whole(
            base.with_suffix(".pdf"),
            lambda p: figure.savefig(p, format="pdf", metadata={"CreationDate": None}),
        )
        write_whole(
            base.with_suffix(".png"), lambda p: figure.savefig(p, format="png", metadata={"Software": None})
        )
    write_table(table, base.with_suffix(".csv"))
    write_text(base.with_suffix(".txt"), caption + "\n")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a tidy table as CSV with every digit, so that reading it back gives the same numbers."""
    write_whole(path, lambda p: table.to_csv(p, index=False, lineterminator="\n"))


def committed(slug: str) -> Path:
    """Where the committed table of a claim lies, whether or not it is there."""
    return committed_folder() / "tables" / f"{slug}.csv"


def drawing(slug: str) -> Callable[[pd.DataFrame], Figure]:
    """The `draw` function of `paper_figures/<slug>.py`, from the repository or from the installed package.

    Raises:
        InputError: the claim has no figure.
    """
    path = next((f / f"{slug}.py" for f in figure_folders() if (f / f"{slug}.py").is_file()), None)
    if path is None:
        raise InputError(
            f"{slug} has no figure: it is a plain identity; `distalign show {slug}` prints what it tests"
        )
    draw = _module(path).draw

    def styled(table: pd.DataFrame) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(table)

    return styled


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"paper_figures_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
