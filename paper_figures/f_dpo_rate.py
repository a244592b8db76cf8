"""f-DPO from n pairs misses its optimum by n^-1/2, with the predicted constants once n is large.

(a) Mean total variation to the optimum; (b) the same over its limit. Bars: 99 % intervals over seeds; open: n
too small for the linear regime, not fitted.
"""

import numpy as np

from distalign.figures import DIVERGENCES, METHODS, guide, label_at, legend_below, new

HOLLOW = {"jensen_shannon, beta 1": "P", "jensen_shannon, beta 2": "*"}


def draw(table):
    figure, (error, ratio) = new(panels=2, height=2.8)
    for setting, mine in table.groupby("setting", sort=False):
        name, beta = setting.split(", beta ")
        colour, marker, style = METHODS[name]
        look = {"color": colour, "marker": HOLLOW.get(setting, marker), "linestyle": style, "markersize": 3.5}
        error.plot(mine["size"], mine["mean"], label=rf"{DIVERGENCES[name]}, $\beta={beta}$", **look)
        interval = np.array([mine["mean"] - mine.low, mine.high - mine["mean"]])
        error.errorbar(mine["size"], mine["mean"], interval, fmt="none", ecolor=colour)
        ratio.errorbar(
            mine["size"],
            mine["mean"] / mine.tv_limit,
            interval / mine.tv_limit.to_numpy(),
            elinewidth=0.7,
            capsize=1.5,
            **look,
        )
        early = mine[~mine.fitted]
        ratio.plot(
            early["size"],
            early["mean"] / early.tv_limit,
            **{**look, "linestyle": "none"},
            markerfacecolor="white",
            zorder=5,
        )
    sizes = table["size"].drop_duplicates().sort_values()
    middle = sizes.iloc[len(sizes) // 3]
    start = table["mean"].min() * (sizes.iloc[-1] / sizes.iloc[0]) ** 0.5 / 1.6
    guide(error, sizes, start, -0.5, "_")
    label_at(error, middle, start * (sizes.iloc[0] / middle) ** 0.5, "slope $-1/2$", shift=(-3, -4))
    error.set(xscale="log", yscale="log", xlabel="pairs n", ylabel=r"mean TV$(\hat\pi, \pi^*_f)$")
    ratio.axhline(1, color="black", linewidth=0.7, linestyle="--", label="limit (delta method)")
    ratio.set(xscale="log", xlabel="pairs n", ylabel="mean TV / its limit")
    error.set_title("error")
    ratio.set_title("error over its limit")
    legend_below(figure, columns=4)
    return figure
