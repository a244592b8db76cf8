"""NLHF never loses more than C, and on the universal family as much.

Distortion in the KL ball against temperature, exact for each population: two worst cases, the largest of
random problems over their range, and the bound C.
"""

from distalign.figures import BOUND, legend_below, line, new


def draw(table):
    figure, (axes,) = new(height=2.7)
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
    legend_below(figure, columns=2)
    return figure
