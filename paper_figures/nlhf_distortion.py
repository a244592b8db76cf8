"""Distortion of KL-constrained NLHF against temperature: random problems, two worst cases, and the bound
C.
"""

from distalign.figures import BOUND, line, new


def draw(table):
    figure, (axes,) = new()
    random, worst, borda = (table[table["family"] == name] for name in ("random", "universal", "Borda's"))
    axes.plot(worst["bt_temperature"], worst["bound"], **BOUND, label=r"$C=(b/2)\,\coth(b/2)$")
    axes.plot(
        worst["bt_temperature"],
        worst["high"],
        color="black",
        marker="o",
        markerfacecolor="white",
        linestyle="none",
        label="universal worst case",
    )
    line(
        axes, "maximal lottery", borda["bt_temperature"], borda["high"], label="worst case of Borda and RLHF"
    )
    line(axes, "NLHF", random["bt_temperature"], random["high"], label="largest of random problems")
    axes.fill_between(random["bt_temperature"], random["low"], random["high"], color="0.85", linewidth=0)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Bradley-Terry temperature b",
        ylabel="distortion of NLHF in the KL ball",
    )
    axes.legend()
    return figure
