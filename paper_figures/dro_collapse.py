"""Length of the robust optimum against the radius.

It falls to exactly zero at the collapse radius of each ball.
"""

from distalign.figures import new

STYLE = {
    "KL": ("#009E73", "o", "-"),
    "W1 finite": ("#D55E00", "v", ":"),
    "W2 finite": ("#E69F00", "s", "--"),
    "W1 on R^d": ("#56B4E9", "^", "-."),
    "W2 on R^d": ("#CC79A7", "D", "--"),
}


def draw(table):
    figure, (axes,) = new(height=2.8)
    for kind, (colour, marker, style) in STYLE.items():
        mine = table[table.ball == kind].sort_values("share")
        axes.plot(
            mine.share,
            mine.relative_size,
            color=colour,
            marker=marker,
            linestyle=style,
            label=kind.replace("R^d", r"$\mathbf{R}^d$"),
        )
    axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.annotate("collapse", (1.02, 0.9), fontsize=6, xycoords=("data", "axes fraction"))
    axes.set(
        xlabel="radius / collapse radius",
        ylabel=r"$\|\theta_{\mathrm{rob}}\| / \|\theta^\star\|$",
        xlim=(0, min(1.6, table.share.max())),
    )
    axes.legend(fontsize=6)
    return figure
