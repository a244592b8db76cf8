"""A model approaches the preferred law by RDRO, DDRO and SFT as a table does, and not by DPO.

Mean total variation to p+ against n, filled with 99 % intervals over seeds: language model; open: exact fit
of a table.
"""

import numpy as np

from distalign.figures import METHODS, label_at, legend_below, line, new


def draw(table):
    figure, (axes,) = new(height=3.0)
    finite = np.sort(table["size"][np.isfinite(table["size"])].unique())
    population = 10 * finite[-1]  # where n = infinity stands on the axis
    for name in ("SFT", "DDRO", "RDRO", "DPO"):
        mine = table[table.method == name].sort_values("size")
        x = mine["size"].replace(np.inf, population)
        line(axes, name, x, mine["mean"], mine.low, mine.high, label=f"{name}: language model")
        shown = np.isfinite(mine["size"]) | (name == "DPO")
        axes.plot(
            x[shown],
            mine.simulated[shown],
            color=METHODS[name][0],
            linestyle=":",
            marker=METHODS[name][1],
            markerfacecolor="white",
            zorder=1.5,
            label=f"{name}: table",
        )
    axes.axhline(table.start.mean(), color="black", linewidth=0.6)
    label_at(axes, finite[0], table.start.mean(), "reference", shift=(1, 2))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"mean total variation to $p_+$",
        xticks=[*finite, population],
        xticklabels=[*(f"{n:g}" for n in finite), r"$\infty$"],
    )
    axes.minorticks_off()
    legend_below(figure, columns=2)
    return figure
