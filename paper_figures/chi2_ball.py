"""The chi-square-robust loss is mean plus standard deviation up to an edge, and less beyond.

Rise over DPO's loss, as a share of sqrt(2 radius) standard deviations, by the radius in units of the
predicted edge. Markers: means over random instances; bars: their whole range. Dotted: share of pairs without
weight.
"""

from distalign.figures import label_at, legend_below, new, points


def draw(table):
    figure, (axes,) = new(height=2.5)
    mine = table[table.part == "value"].sort_values("share")
    points(
        axes, mine.share, mine, color="#0072B2", marker="o", linestyle="-", label="rise / standard deviations"
    )
    axes.plot(
        mine.share, mine.dropped, color="#D55E00", marker="v", linestyle=":", label="share of pairs dropped"
    )
    axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label_at(axes, 1, 0.5, "predicted edge", shift=(3, 0))
    axes.set(xscale="log", xlabel="radius / edge", ylabel="share", ylim=(0, 1.05))
    legend_below(figure, columns=2)
    return figure
