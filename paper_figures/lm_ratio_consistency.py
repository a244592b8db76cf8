"""Total variation to the law of preferred responses against n, by a language model and by a table.

DPO does not approach it.
"""

import numpy as np

from distalign.figures import METHODS, line, new


def draw(table):
    figure, (axes,) = new(height=3.4)
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
            marker="+",
            label=f"{name}: table",
        )
    axes.axhline(table.start.mean(), color="black", linewidth=0.6, label="reference")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"mean total variation to $p_+$",
        xticks=[*finite, population],
        xticklabels=[*(f"{n:g}" for n in finite), r"$\infty$"],
    )
    axes.minorticks_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, fontsize=6, columnspacing=1)
    return figure
