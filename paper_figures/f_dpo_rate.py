"""Total variation to the optimum against n, and the same in units of its limit.

The latter shows from which n the limit holds.
"""

import numpy as np

from distalign.figures import DIVERGENCES, METHODS, guide, new

HOLLOW = {"jensen_shannon, beta 1": "P", "jensen_shannon, beta 2": "*"}


def draw(table):
    figure, (error, ratio) = new(panels=2, height=2.9)
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
    guide(
        error, sizes, table["mean"].min() * (sizes.iloc[-1] / sizes.iloc[0]) ** 0.5 / 1.6, -0.5, r"$n^{-1/2}$"
    )
    error.set(xscale="log", yscale="log", xlabel="pairs n", ylabel=r"mean TV$(\hat\pi, \pi^*_f)$")
    error.legend(fontsize=6)
    ratio.axhline(1, color="black", linewidth=0.7, linestyle="--", label="delta method")
    ratio.plot(
        [],
        [],
        marker="o",
        color="0.4",
        markerfacecolor="white",
        linestyle="none",
        label="n below the linear regime: not fitted",
    )
    ratio.set(xscale="log", xlabel="pairs n", ylabel="mean TV / its limit")
    ratio.legend()
    return figure
