"""Mean sorted value of equal uniform laws against n: exact expectations of two penalties with two
exponents.
"""

import numpy as np

from distalign.figures import BOUND, new

STYLE = {"hinge": ("#D55E00", "s", "hinge"), "squared_hinge": ("#0072B2", "o", "squared hinge")}


def draw(table):
    figure, (axes,) = new(height=2.9)
    for penalty, (colour, marker, name) in STYLE.items():
        mine = table[table.penalty == penalty].sort_values("size")
        axes.errorbar(
            mine["size"],
            mine["mean"],
            np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None),
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label=name,
        )
        exact = (
            r"$\frac{\sqrt{\pi}}{8}\,\Gamma(n+1)/\Gamma(n+\frac{3}{2})$"
            if penalty == "hinge"
            else r"$1/(6(n+1))$"
        )
        axes.plot(mine["size"], mine.predicted, color=colour, linewidth=0.8, label="exact: " + exact)
    axes.plot(mine["size"], 0.5 * mine["size"] ** -0.5, **BOUND, label="slope $-1/2$, guaranteed")
    axes.set(xscale="log", yscale="log", xlabel="samples per class n", ylabel="mean value (population: 0)")
    axes.legend(fontsize=6, loc="lower left")
    return figure
