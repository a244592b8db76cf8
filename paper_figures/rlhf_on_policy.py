"""With pairs from the reference RLHF loses at most Bd, as far as searches found.

Largest distortion against temperature, exact for each population; dotted: what comparisons off policy can
cost.
"""

from distalign.figures import BOUND, legend_below, line, new


def draw(table):
    figure, (axes,) = new(height=2.8)
    search, random, pool = (table[table["family"] == name] for name in ("search", "random", "F3"))
    off = search[search["off_policy"] < 1e4]
    axes.plot(
        off["bt_temperature"],
        off["off_policy"],
        color="0.4",
        linewidth=0.8,
        linestyle=":",
        label=r"$\cosh^2(b/2)$: off policy",
    )
    axes.plot(search["bt_temperature"], search["bound"], **BOUND, label="Bd, conjectured bound")
    axes.plot(
        search["bt_temperature"],
        search["high"],
        color="black",
        marker="s",
        markerfacecolor="white",
        linestyle="none",
        label="best of the searches",
    )
    line(axes, "RLHF", random["bt_temperature"], random["high"], label="largest of random ones")
    line(axes, "reference", pool["bt_temperature"], pool["high"], label="exponential family")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Bradley-Terry temperature b",
        ylabel="distortion of RLHF in the KL ball",
    )
    legend_below(figure, columns=2)
    return figure
