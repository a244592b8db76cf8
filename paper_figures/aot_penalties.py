"""The hinge leaves fewer quantiles short of the margin than the squared hinge, but by more each.

(a) Difference of the quantiles at the minimiser, one population. (b) Means over populations with 99 %
intervals; short: below the margin; effective: weighted by the shortfall.
"""

import numpy as np

from distalign.figures import legend_below, new, points

PENALTIES = {
    "hinge": ("#D55E00", "s", "-."),
    "squared_hinge": ("#0072B2", "o", "-"),
    "least_squares": ("#009E73", "D", "--"),
}
MARGIN = 0.5
MEASURES = {
    "short": "share\nshort",
    "effective": "effective\nshare",
    "met": "share met\nexactly",
    "depth": "mean short-\nfall (nats)",
}


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    for i, (penalty, (colour, marker, style)) in enumerate(PENALTIES.items()):
        name = penalty.replace("_", " ")
        curve = table[(table.part == "curve") & (table.penalty == penalty)].sort_values("t")
        left.step(
            curve.t,
            curve.gap,
            where="mid",
            color=colour,
            linestyle=style,
            linewidth=1.0,
            marker=marker,
            markevery=(7 * i, 20),
            label=name,
        )
        means = table[(table.part == "measures") & (table.penalty == penalty)].set_index("quantity")
        place = np.arange(len(MEASURES)) + 0.15 * (i - 1)
        points(right, place, means.loc[list(MEASURES)], color=colour, marker=marker, label=name)
    left.axhline(MARGIN, color="black", linewidth=0.8, linestyle=(0, (4, 2)), label="margin asked for")
    left.set(xlabel="quantile t", ylabel=r"$Q_U(t) - Q_V(t)$ (nats)", title="one population")
    right.set_xticks(range(len(MEASURES)), MEASURES.values())
    right.set(
        xlabel="of quantiles, at the minimiser", ylabel="mean over populations", title="all populations"
    )
    legend_below(figure, columns=4)
    return figure
