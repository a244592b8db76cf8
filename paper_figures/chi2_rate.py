"""The chi-square-robust estimate errs like n^-1/2, by the constant of the delta method.

Root-mean-square error against sample size with 99 % intervals, by dimension d and radius (a share of the
collapse radius). Lines: square root of trace over n of the limit covariance.
"""

from distalign.figures import legend_below, new, points

LOOK = [("#0072B2", "o", "-"), ("#56B4E9", "s", "--"), ("#009E73", "^", "-."), ("#D55E00", "v", ":")]
LOOK += [("#CC79A7", "D", "--"), ("#E69F00", "P", "-")]


def draw(table):
    figure, (axes,) = new(height=3.0)
    for (colour, marker, style), ((d, share), mine) in zip(LOOK, table.groupby(["dimension", "share"])):
        points(
            axes,
            mine["size"],
            mine,
            ("rms", "low", "high"),
            color=colour,
            marker=marker,
            label=f"d = {d}, radius {share:g}",
        )
        axes.plot(mine["size"], mine.predicted, color=colour, linestyle=style)
    axes.set(xscale="log", yscale="log", xlabel="pairs n", ylabel=r"rms of $\|\theta_n - \theta\|$")
    legend_below(figure, columns=2)
    return figure
