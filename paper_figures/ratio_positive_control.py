"""DPO reaches the preferred law if its reference is the rejected law and beta is 1.

Mean total variation to p+ on independent draws, 99 % intervals over seeds; dashed: asymptotic constant; with
the mixture as reference DPO stops at its exact limits (thin lines).
"""

from distalign.figures import METHODS, guide, label_at, legend_below, line, new, points

MIXTURE = {"mixture, beta 0.1": ("0.1", "v"), "mixture, beta 1": ("1", "<"), "mixture, beta 2": ("2", ">")}


def draw(table):
    figure, (axes,) = new(height=3.1)
    for name in ("SFT", "RDRO"):
        mine = table[table.method == name].sort_values("size")
        line(axes, name, mine["size"], mine["mean"], mine.low, mine.high)
    colour = METHODS["DPO"][0]
    mine = table[table.method == "p-, beta 1"].sort_values("size")
    points(
        axes,
        mine["size"],
        mine,
        color=colour,
        marker="D",
        linestyle="-",
        label=r"DPO, $\beta = 1$, reference $p_-$",
    )
    axes.plot(
        mine["size"],
        mine.predicted,
        color="0.4",
        linewidth=0.7,
        linestyle="--",
        label="its asymptotic constant",
    )
    for name, (beta, marker) in MIXTURE.items():
        mine = table[table.method == name].sort_values("size")
        points(
            axes,
            mine["size"],
            mine,
            color=colour,
            marker=marker,
            linestyle=":",
            label=rf"DPO, $\beta = {beta}$, mixture",
        )
        axes.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    first, start = mine["size"].iloc[0], 0.02
    guide(axes, mine["size"], start, -0.5, "_")
    at = mine["size"].iloc[len(mine) // 2]
    label_at(axes, at, start * (first / at) ** 0.5, "slope $-1/2$", shift=(-3, -4))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="pairs of independent draws n",
        ylabel=r"mean total variation to $p_+$",
    )
    legend_below(figure, columns=2)
    return figure
