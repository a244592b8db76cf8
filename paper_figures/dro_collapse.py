"""Every ball has a radius at which the robust optimum is exactly the reference.

Length of the robust optimum over that of theta*, against the radius in units of the predicted collapse
radius. Markers: means over problems with 99 % intervals.
"""

from distalign.figures import label_at, legend_below, new, points

STYLE = {
    "KL": ("#009E73", "o", "-"),
    "W1 finite": ("#D55E00", "v", ":"),
    "W2 finite": ("#E69F00", "s", "--"),
    "W1 on R^d": ("#56B4E9", "^", "-."),
    "W2 on R^d": ("#CC79A7", "D", "--"),
}


def draw(table):
    figure, (axes,) = new(height=2.6)
    for kind, (colour, marker, style) in STYLE.items():
        mine = table[table.ball == kind].sort_values("share")
        points(
            axes,
            mine.share,
            mine,
            ("relative_size", "low", "high"),
            color=colour,
            marker=marker,
            linestyle=style,
            label=kind.replace("R^d", r"$\mathbf{R}^d$"),
        )
    axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label_at(axes, 1, 0.9, "predicted\ncollapse", shift=(3, 0))
    axes.set(
        xlabel="radius / collapse radius",
        ylabel=r"$\|\theta_{\mathrm{rob}}\| / \|\theta^\star\|$",
        xlim=(0, min(1.6, table.share.max())),
    )
    legend_below(figure, columns=3)
    return figure
