"""Excess and generalisation gap of the policy trained on n responses, against n.

Both are drawn with their asymptotic constants.
"""

import numpy as np

from distalign.figures import guide, new

SETTINGS = (
    ("least squares", 1, "#009E73", "D", "least squares"),
    ("least squares", 4, "#56B4E9", "P", "least squares, n = 4 m"),
    ("squared hinge", 1, "#0072B2", "o", "squared hinge, rim"),
    ("logistic", 1, "#CC79A7", "v", "logistic, rim"),
)


def draw(table):
    figure, (left, right) = new(width=2.9, height=3.0, panels=2)
    for axes, quantity in ((left, "excess"), (right, "gap")):
        for penalty, ratio, colour, marker, name in SETTINGS:
            mine = table[
                (table.quantity == quantity) & (table.penalty == penalty) & (table.ratio == ratio)
            ].sort_values("size")
            error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
            axes.errorbar(
                mine["size"],
                mine["mean"],
                error,
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                label=name,
            )
            axes.plot(mine["size"], mine.predicted, color=colour, linewidth=0.8)
        guide(axes, mine["size"], 0.3, -0.5, "slope $-1/2$ (guarantee)")
        axes.set(xscale="log", yscale="log", xlabel="chosen responses n")
    guide(left, mine["size"], 0.01, -1, "slope $-1$")
    left.lines[-1].set_linestyle("-")
    left.set(ylabel=r"excess $L(\theta_n) - L(\theta^*)$", title="lines: ours, from potentials and curvature")
    right.set(ylabel=r"mean $|L(\theta_n) - L_n(\theta_n)|$", title="generalisation gap")
    lines, names = left.get_legend_handles_labels()
    left.legend(lines[:2], names[:2], fontsize=6, loc="lower left")
    right.legend(fontsize=6)
    return figure
