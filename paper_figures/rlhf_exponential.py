"""RLHF's distortion grows exponentially with temperature while NLHF stays within C.

Exact distortions in the KL ball on the paper's family and on a sharper one (ours), on their laws.
"""

from distalign.figures import BOUND, legend_below, line, new


def draw(table):
    figure, (axes,) = new(height=2.8)
    paper, sharp = table[table["family"] == "F3"], table[table["family"] == "F3'"]
    axes.plot(
        sharp["bt_temperature"],
        sharp["law"],
        color="0.4",
        linewidth=0.8,
        linestyle="-",
        label=r"$\cosh^2(b/2)$",
    )
    axes.plot(
        paper["bt_temperature"], paper["law"], color="0.4", linewidth=0.8, linestyle=":", label=r"$e^b/(10b)$"
    )
    axes.plot(
        sharp["bt_temperature"],
        sharp["rlhf"],
        color="black",
        marker="s",
        markerfacecolor="white",
        linestyle="none",
        label="RLHF, sharper family",
    )
    axes.plot(
        paper["bt_temperature"],
        paper["rlhf"],
        color="#D55E00",
        marker="v",
        linestyle="none",
        label="RLHF, paper's family",
    )
    axes.plot(paper["bt_temperature"], paper["bound"], **BOUND, label="C, bound on NLHF")
    largest = table.groupby("bt_temperature")["nlhf"].max()
    line(axes, "NLHF", largest.index, largest, label="NLHF, larger of both")
    axes.set(yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion in the KL ball")
    legend_below(figure, columns=2)
    return figure
