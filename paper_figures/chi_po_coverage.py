"""Rare responses cost DPO comparisons in proportion; chi-PO's cost stays below a bound without coverage.

n times the mean loss of regularised reward after n comparisons, with 99 % intervals, where the reference
draws the best response once in C times. Dotted: first-order constants; dashed: chi-PO's bound for any
reference.
"""

from distalign.figures import BOUND, legend_below, new, points

LOOK = {"DPO": ("#D55E00", "v"), "chi-PO": ("#0072B2", "o")}


def draw(table):
    figure, (axes,) = new(height=2.6)
    for method, (colour, marker) in LOOK.items():
        mine = table[table.method == method].sort_values("coverage")
        points(axes, mine.coverage, mine, color=colour, marker=marker, label=method)
        axes.plot(mine.coverage, mine.predicted, color=colour, linewidth=0.8, linestyle=":")
    axes.plot(mine.coverage, mine.limit, **BOUND, label="bound of chi-PO")
    axes.set(xscale="log", yscale="log", xlabel="coverage C", ylabel="n x mean loss")
    legend_below(figure, columns=3)
    return figure
