"""Clipping the reward holds RLHF below 2 on its exponential families, and helps nowhere else.

Distortion against temperature, plain (filled) and clipped (open). Bands: 99 % intervals over random
populations; other families are exact.
"""

from distalign.figures import BOUND, label_at, legend_below, new

LOOK = {
    "F3": ("#D55E00", "v", "F3"),
    "F3'": ("#CC79A7", "D", "F3'"),
    "on policy, worst": ("#E69F00", "s", "F2 on policy"),
    "on policy, random": ("#0072B2", "o", "random on policy"),
}


def draw(table):
    figure, (axes,) = new(height=2.9)
    for family, (colour, marker, words) in LOOK.items():
        for reward, style, filled in (("plain", ":", colour), ("clipped_0.45", "-", "white")):
            rows = table[(table["family"] == family) & (table["reward"] == reward)]
            axes.plot(
                rows["bt_temperature"],
                rows["mean"],
                color=colour,
                marker=marker,
                linestyle=style,
                markerfacecolor=filled,
                label=f"{words}, {reward.split('_')[0]}",
            )
            axes.fill_between(
                rows["bt_temperature"], rows["low"], rows["high"], color=colour, alpha=0.25, linewidth=0
            )
    axes.axhline(2, **BOUND)
    label_at(axes, table.bt_temperature.max(), 2, "2", shift=(4, 0))
    axes.set(yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion of KL-constrained RLHF")
    legend_below(figure, columns=2)
    return figure
