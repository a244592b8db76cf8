"""KL from the law of preferred texts to a model that writes freely, against the labels it was trained on.

SFT, DDRO and RDRO approach the law; DPO stops beyond its own optimum, which is out of the network's reach.
Bars: 99 % intervals over seeds and prompts.
"""

import numpy as np

from distalign.figures import BOUND, line, new


def draw(table):
    figure, (axes,) = new(height=3.2)
    finite = np.sort(table["size"][np.isfinite(table["size"])].unique())
    population = 10 * finite[-1]  # where n = infinity stands on the axis
    for name in ("SFT", "DDRO", "RDRO", "DPO"):
        mine = table[table.method == name].sort_values("size")
        x = mine["size"].replace(np.inf, population)
        line(axes, name, x, mine["mean"], mine.low.clip(lower=1e-3), mine.high)
    axes.axhline(table.predicted[table.method == "DPO"].mean(), **BOUND, label="DPO's limit, predicted")
    start = table.start[table.method == "DPO"].mean()
    axes.axhline(start, color="0.5", linewidth=0.6, label="reference")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="labelled pairs of each prompt",
        ylabel=r"KL($p_+$ || model), nats",
        xticks=[*finite, population],
        xticklabels=[*(f"{n:g}" for n in finite), r"$\infty$"],
    )
    axes.minorticks_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, fontsize=6, columnspacing=1)
    return figure
