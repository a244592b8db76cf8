"""Expected excess of two policies that approach each other like n^{-1/2}, and of a class with an isolated
minimum.
"""

import numpy as np

from distalign.figures import guide, new


def draw(table):
    figure, (axes,) = new(height=2.8)
    error = np.clip([table["mean"] - table.low, table.high - table["mean"]], 0, None)
    axes.errorbar(
        table["size"],
        table["mean"],
        error,
        color="#0072B2",
        marker="o",
        linestyle="none",
        elinewidth=0.8,
        capsize=1.5,
        label="two policies, local alternatives",
    )
    axes.plot(
        table["size"],
        table.predicted,
        color="#0072B2",
        linewidth=0.8,
        label=r"$c\,\Phi(-c)\,\mathrm{sd}/\sqrt{n}$, $c = 3/4$",
    )
    axes.plot(
        table["size"],
        table.isolated,
        color="#009E73",
        linewidth=1.0,
        linestyle="-.",
        label=f"fixed class, isolated minimum: ${(table.isolated * table['size']).iloc[0]:.2f} / n$",
    )
    guide(axes, table["size"], 3 * table["mean"].iloc[0], -0.5, "slope $-1/2$ (guarantee)")
    axes.set(xscale="log", yscale="log", xlabel="responses of each class n", ylabel="expected excess")
    axes.legend(fontsize=6)
    return figure
