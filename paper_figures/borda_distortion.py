"""Borda's worst distortion is the curve Bd, exactly; random populations stay far below.

Distortion against temperature, exact for each population: the worst family on its curve, the largest of
random problems over their range, and C, the best that any rule can do.
"""

from distalign.figures import BOUND, legend_below, line, new


def draw(table):
    figure, (axes,) = new(height=2.7)
    random, worst = table[table["family"] == "random"], table[table["family"] == "worst case"]
    axes.plot(worst["bt_temperature"], worst["bound"], **BOUND, label="Bd, worst case of Borda")
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
    legend_below(figure, columns=2)
    return figure
