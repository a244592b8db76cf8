"""Losses over balls of CVaR and total variation rise linearly up to an edge, and less beyond.

Rise over DPO's loss in units of the linear form, by what the ball takes over the mass of the least loss
(beyond 1 the mass taken is 1 - (1 - edge)/share). Markers: means over random instances; bars: their whole
range.
"""

from distalign.figures import label_at, legend_below, new, points


def draw(table):
    figure, (axes,) = new(height=2.5)
    mine = table[table.part == "value"].sort_values("share")
    for name, words, colour, marker in (
        ("cvar", "CVaR", "#0072B2", "o"),
        ("tv", "total variation", "#D55E00", "v"),
    ):
        names = (f"{name}_rise", f"{name}_low", f"{name}_high")
        points(axes, mine.share, mine, names, color=colour, marker=marker, linestyle="-", label=words)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label_at(axes, 1, 0.2, "predicted edge", shift=(-3, 0))
    axes.set(xscale="log", xlabel="share of the edge", ylabel="rise / linear form", ylim=(0, 1.05))
    legend_below(figure, columns=2)
    return figure
