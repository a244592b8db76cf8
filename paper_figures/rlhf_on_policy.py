"""Largest distortion of RLHF found with comparisons from the reference, below Bd.

Beside it, what comparisons off policy can cost.
"""

from distalign.figures import BOUND, line, new


def draw(table):
    figure, (axes,) = new()
    search, random, pool = (table[table["family"] == name] for name in ("search", "random", "F3"))
    off = search[search["off_policy"] < 1e4]
    axes.plot(
        off["bt_temperature"],
        off["off_policy"],
        color="0.4",
        linewidth=0.8,
        linestyle=":",
        label=r"$\cosh^2(b/2)$: comparisons off policy",
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
    line(axes, "RLHF", random["bt_temperature"], random["high"], label="largest of random problems")
    line(axes, "reference", pool["bt_temperature"], pool["high"], label="exponential family, on policy")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Bradley-Terry temperature b",
        ylabel="distortion of RLHF in the KL ball",
    )
    axes.legend()
    return figure
