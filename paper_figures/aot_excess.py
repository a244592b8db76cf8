"""A policy trained on n responses loses about 1/n, faster than guaranteed, while its gap falls like n^-1/2.

Markers: means with 99 % intervals over seeds; lines: their limits from potentials and curvature (ours).
"""

from distalign.figures import guide, label_at, legend_below, new, points

SETTINGS = (
    ("least squares", 1, "#009E73", "D", "least squares"),
    ("least squares", 4, "#56B4E9", "P", "least squares, n = 4 m"),
    ("squared hinge", 1, "#0072B2", "o", "squared hinge, rim"),
    ("logistic", 1, "#CC79A7", "v", "logistic, rim"),
)


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    for axes, quantity in ((left, "excess"), (right, "gap")):
        for penalty, ratio, colour, marker, name in SETTINGS:
            mine = table[
                (table.quantity == quantity) & (table.penalty == penalty) & (table.ratio == ratio)
            ].sort_values("size")
            points(axes, mine["size"], mine, color=colour, marker=marker, label=name)
            axes.plot(mine["size"], mine.predicted, color=colour, linewidth=0.8)
        guide(axes, mine["size"], 0.3, -0.5, "_")
        label_at(axes, mine["size"].iloc[0], 0.3, "slope $-1/2$ (guarantee)", shift=(6, 2))
        axes.set(xscale="log", yscale="log", xlabel="chosen responses n")
    guide(left, mine["size"], 0.01, -1, "_")
    last = mine["size"].iloc[-1]
    label_at(left, last, 0.01 * mine["size"].iloc[0] / last, "slope $-1$")
    left.set(ylabel=r"excess $L(\theta_n) - L(\theta^*)$", title="excess of the trained policy")
    right.set(ylabel=r"mean $|L(\theta_n) - L_n(\theta_n)|$", title="generalisation gap")
    legend_below(figure, columns=4)
    return figure
