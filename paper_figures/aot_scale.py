"""Least value and norm of the best policy within a ball, and the value along the true direction."""

import numpy as np

from distalign.figures import new

PENALTIES = {"logistic": ("#CC79A7", "v"), "least squares": ("#009E73", "D")}


def draw(table):
    figure, (left, right) = new(width=2.9, height=2.8, panels=2)
    for penalty, (colour, marker) in PENALTIES.items():
        mine = table[(table.penalty == penalty) & (table.part == "ball")].sort_values("size")
        _mean(left, mine[mine.quantity == "norm"], colour, marker, penalty)
        _mean(right, mine[mine.quantity == "value"], colour, marker, f"{penalty}: best policy in the ball")
    ray = table[
        (table.penalty == "logistic") & (table.part == "ray") & table["size"].between(1, 1000)
    ].sort_values("size")
    _mean(right, ray, "black", "x", "logistic: along the true direction")
    right.axhline(
        table.limit.iloc[0],
        color="black",
        linewidth=0.8,
        linestyle="--",
        label="limit of the true direction, exact",
    )
    radii = mine["size"].unique()
    left.plot(radii, radii, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)), label="norm = radius")
    left.set(xscale="log", yscale="log", xlabel="radius of the ball", ylabel="norm of its best policy")
    left.legend(fontsize=6)
    right.set(xscale="log", xlabel="radius of the ball, or norm", ylabel="AOT value (nats, square nats)")
    right.legend(fontsize=6)
    return figure


def _mean(axes, rows, colour, marker, label):
    error = np.clip([rows["mean"] - rows.low, rows.high - rows["mean"]], 0, None)
    axes.errorbar(
        rows["size"],
        rows["mean"],
        error,
        color=colour,
        marker=marker,
        linewidth=1.0,
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )
