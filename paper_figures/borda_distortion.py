"""Distortion of Borda and of RLHF without KL against temperature.

The worst case of Borda is exactly Bd; random problems lie below it, and C is drawn for comparison.
"""

from distalign.figures import BOUND, line, new


def draw(table):
    figure, (axes,) = new()
    random, worst = table[table["family"] == "random"], table[table["family"] == "worst case"]
    axes.plot(worst["bt_temperature"], worst["bound"], **BOUND, label="Bd, exact worst case of Borda")
    axes.plot(
        worst["bt_temperature"],
        worst["minimax"],
        color="0.4",
        linewidth=0.8,
        linestyle=":",
        label="C, best of any rule",
    )
    axes.plot(
        worst["bt_temperature"],
        worst["high"],
        color="black",
        marker="s",
        markerfacecolor="white",
        linestyle="none",
        label="Borda on its worst case",
    )
    line(axes, "Borda", random["bt_temperature"], random["high"], label="largest of random problems")
    axes.fill_between(random["bt_temperature"], random["low"], random["high"], color="0.85", linewidth=0)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Bradley-Terry temperature b",
        ylabel="distortion of Borda and RLHF",
    )
    axes.legend()
    return figure
