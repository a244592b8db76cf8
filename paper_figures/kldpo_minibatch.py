"""What micro-batches do to KLDPO.

The length of its solution, and the mean weight, which multiplies the learning rate.
"""

import numpy as np

from distalign.figures import new

COLOURS = {1.0: ("#56B4E9", "o"), 0.3: ("#D55E00", "s"), 0.1: ("#000000", "^")}


def draw(table):
    figure, (left, right) = new(width=3.1, height=3.0, panels=2)
    for temperature, (colour, marker) in COLOURS.items():
        mine = table[(table.part == "solutions") & (table.temperature == temperature)]
        if mine.empty:
            continue
        for weights, style, face in (("released", "-", colour), ("normalised", "--", "none")):
            drawn = mine[mine.weights == weights].sort_values("batch")
            error = np.clip([drawn["mean"] - drawn.low, drawn.high - drawn["mean"]], 0, None)
            left.errorbar(
                drawn.batch,
                drawn["mean"],
                error,
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                markerfacecolor=face,
            )
            left.plot(drawn.batch, drawn.predicted, color=colour, linestyle=style, linewidth=0.8)
        left.plot([], [], color=colour, marker=marker, linestyle="none", label=rf"$\tau = {temperature:g}$")
        left.axhline(mine.exact.iloc[0], color=colour, linewidth=0.7, linestyle=(0, (1, 1)))
        path = table[(table.part == "path") & (table.temperature == temperature)].sort_values("factor")
        right.plot(path.factor, path.mean_weight, color=colour, linestyle="--", linewidth=0.8)
        right.plot(
            path.factor,
            path.clamped_weight,
            color=colour,
            marker=marker,
            markevery=6,
            label=rf"$\tau = {temperature:g}$, clamped",
        )
    left.set(
        xscale="log",
        yscale="log",
        ylim=(None, 3),
        xlabel="micro-batch B (pairs)",
        ylabel="length relative to DPO's",
    )
    for style, face, name in (("-", "0.4", "released"), ("--", "none", "normalised in the batch")):
        left.plot(
            [], [], color="0.4", linestyle=style, marker="o", markerfacecolor=face, linewidth=0.8, label=name
        )
    left.plot([], [], color="0.4", linestyle=(0, (1, 1)), linewidth=0.7, label=r"whole data: $\tau/(1+\tau)$")
    left.legend(fontsize=6, loc="upper right", title="lines: theory", title_fontsize=6)
    right.plot([], [], color="0.4", linestyle="--", linewidth=0.8, label="without clamp")
    right.set(
        yscale="log",
        ylim=(0.8, 400),
        xlabel="length relative to DPO's, on the way to it",
        ylabel="mean weight",
    )
    right.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure
