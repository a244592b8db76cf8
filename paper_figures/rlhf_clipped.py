"""Distortion of RLHF against temperature, plain and with a clipped reward.

On two exponential families, and with comparisons on policy.
"""

from distalign.figures import BOUND, new

LOOK = {
    "F3": ("#D55E00", "v", "F3"),
    "F3'": ("#CC79A7", "D", "F3'"),
    "on policy, worst": ("#E69F00", "s", "F2 on policy"),
    "on policy, random": ("#0072B2", "o", "random on policy"),
}


def draw(table):
    figure, (axes,) = new(width=4.2, height=3.1)
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
    axes.axhline(2, **BOUND, label="2")
    axes.set(yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion of KL-constrained RLHF")
    axes.legend(fontsize=6, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure
