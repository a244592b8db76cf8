"""A false alarm of dominance becomes exponentially rare as n grows, and nearly certain where there is no gap.

Markers: share of samples of strictly ordered uniform laws with a positive value, 99 % intervals; lines: the
exact chance.
"""

import numpy as np

from distalign.figures import legend_below, new, points

STYLE = (("#000000", "x"), ("#E69F00", "s"), ("#0072B2", "o"), ("#CC79A7", "D"))


def draw(table):
    figure, (axes,) = new(height=2.6)
    for (gap, mine), (colour, marker) in zip(table.groupby("gap"), STYLE, strict=False):
        points(
            axes,
            mine["size"][mine.frequency > 0],
            mine[mine.frequency > 0],
            ("frequency", "low", "high"),
            color=colour,
            marker=marker,
            label="no gap: $n/(n+1)$" if gap == 0 else rf"gap {gap:g}: like ${1 - gap**2:.4g}^n$",
        )
        n = np.linspace(1, table["size"].max(), 200)
        axes.plot(n, n / (n + 1) * (1 - gap) / (1 + gap) * (1 - gap**2) ** n, color=colour, linewidth=0.8)
    axes.set(
        yscale="log",
        ylim=(0.3 / table.replicates.max(), 2),
        xlabel="samples per class n",
        ylabel="chance of a positive value",
    )
    legend_below(figure, columns=2, title="markers: counted, lines: exact")
    return figure
