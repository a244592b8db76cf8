"""The sorted AOT value of n samples of two Gaussians misses the population's by n^-1/2.

Markers: mean absolute error with 99 % intervals over seeds; dashed: its limit by the central limit theorem.
"""

from distalign.figures import legend_below, line, new


def draw(table):
    figure, (axes,) = new()
    line(
        axes,
        "AOT",
        table["size"],
        table["mean"],
        table["low"],
        table["high"],
        label="sorted value, n samples",
    )
    axes.plot(
        table["size"],
        table["predicted"],
        color="black",
        linewidth=0.8,
        linestyle="--",
        label=r"central limit: $1.672\,\sqrt{2/(\pi n)}$",
    )
    axes.set(xscale="log", yscale="log", xlabel="samples per class n", ylabel="mean |error of the value|")
    legend_below(figure, columns=2)
    return figure
