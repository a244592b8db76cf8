"""Entropic transport keeps n^-1/2 and adds a bias that no sample removes.

(a) Transport cost of the entropic plan of two normal laws less the sorted value, by the strength. (b) Root
mean squared error of the regularised value of n draws a class, with 99 % intervals. Lines: closed forms.
"""

from distalign.figures import BOUND, legend_below, new, points

LOOK = (("#0072B2", "o"), ("#D55E00", "v"), ("#009E73", "s"))


def draw(table):
    figure, (left, right) = new(panels=2, height=2.6)
    laws = table[table.part == "population"].sort_values("strength")
    points(left, laws.strength, laws, color="black", marker="o", label="excess over sorting")
    left.plot(laws.strength, laws.predicted, color="black", linewidth=0.8, linestyle=":")
    left.plot(laws.strength, laws.strength / 2, **BOUND, label="half of the strength")
    left.set(xscale="log", yscale="log", xlabel="strength of the regularisation", ylabel="excess cost")
    left.set_ylim(0.1, 10)
    samples = table[table.part == "sample"]
    for (strength, mine), (colour, marker) in zip(samples.groupby("strength"), LOOK, strict=False):
        label = f"value of n draws, strength {strength:g}"
        points(right, mine["size"], mine, color=colour, marker=marker, label=label)
        right.plot(mine["size"], mine.predicted, color=colour, linewidth=0.8, linestyle=":")
    right.set(xscale="log", yscale="log", xlabel="draws per class n", ylabel="root mean squared error")
    legend_below(figure, columns=3)
    return figure
