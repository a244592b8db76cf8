"""Chance that samples of strictly ordered laws seem to violate dominance, against n.

Counts are drawn beside the closed form.
"""

import numpy as np

from distalign.figures import new

STYLE = (("#000000", "x"), ("#E69F00", "s"), ("#0072B2", "o"), ("#CC79A7", "D"))


def draw(table):
    figure, (axes,) = new(height=3.0)
    for (gap, mine), (colour, marker) in zip(table.groupby("gap"), STYLE, strict=False):
        seen = mine[mine.frequency > 0]
        axes.errorbar(
            seen["size"],
            seen.frequency,
            np.clip([seen.frequency - seen.low, seen.high - seen.frequency], 0, None),
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label="no gap: $n/(n+1)$" if gap == 0 else rf"gap {gap:g}: falls like ${1 - gap**2:.4g}^n$",
        )
        n = np.linspace(1, table["size"].max(), 200)
        axes.plot(n, n / (n + 1) * (1 - gap) / (1 + gap) * (1 - gap**2) ** n, color=colour, linewidth=0.8)
    axes.set(
        yscale="log",
        ylim=(0.3 / table.replicates.max(), 2),
        xlabel="samples per class n",
        ylabel="chance of a positive value",
    )
    axes.legend(
        title="markers: counted, lines: exact",
        title_fontsize=7,
        loc="upper center",
        ncols=2,
        bbox_to_anchor=(0.45, -0.2),
        columnspacing=1,
    )
    return figure
