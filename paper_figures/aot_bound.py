"""The error of the sorted value stays below both bounds, and meets one where laws are worst.

Markers: mean absolute error in units of 2LM with 99 % intervals over replicates, which sampling makes small;
solid: bound by the integrals of both laws; dashed: its envelope.
"""

import numpy as np

from distalign.figures import BOUND, legend_below, new

STYLE = {
    "hinge": ("#D55E00", "s"),
    "squared hinge": ("#0072B2", "o"),
    "least squares": ("#009E73", "D"),
    "logistic": ("#CC79A7", "v"),
}
SHOWN = ("coin against a point", "equal uniform laws")


def draw(table):
    figure, panels = new(height=2.7, panels=2)
    for axes, laws in zip(panels, SHOWN, strict=True):
        for penalty, (colour, marker) in STYLE.items():
            mine = table[(table.laws == laws) & (table.penalty == penalty)].sort_values("size")
            unit = (mine.envelope * np.sqrt(mine["size"])).iloc[0]
            mean, low, high = (mine[c] / unit for c in ("mean", "low", "high"))
            axes.errorbar(
                mine["size"],
                mean,
                np.clip([mean - low, high - mean], 0, None),
                color=colour,
                marker=marker,
                elinewidth=0.8,
                capsize=1.5,
                label=penalty,
            )
        axes.plot(
            mine["size"],
            mine.bound / unit,
            color="black",
            linewidth=1.0,
            label=r"bound: $(S_U+S_V)/(2M\sqrt{n})$",
        )
        axes.plot(mine["size"], mine.envelope / unit, **BOUND, label=r"envelope: $1/\sqrt{n}$")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="samples per class n",
            ylabel="mean |error| / (2 L M)",
            title=laws,
        )
    legend_below(figure, columns=3)
    return figure
