"""Mean absolute error of the sorted AOT value against n, with the predicted line."""

from distalign.figures import line, new


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
    axes.set(
        xscale="log", yscale="log", xlabel="samples per class n", ylabel="mean |estimate - population cost|"
    )
    axes.legend()
    return figure
