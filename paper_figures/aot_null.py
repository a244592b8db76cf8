"""Where dominance just holds, the squared hinge's value falls like 1/n and the hinge's like n^-1/2.

Markers: mean sorted value of equal uniform laws with 99 % intervals over seeds; lines: exact expectations for
every n; long dashes: the slope that is guaranteed.
"""

from distalign.figures import BOUND, label_at, legend_below, new, points

STYLE = {
    "hinge": ("#D55E00", "s", "-.", "hinge"),
    "squared_hinge": ("#0072B2", "o", "-", "squared hinge"),
}
EXACT = {
    "hinge": r"exact: $\sqrt{\pi}\;\Gamma(n+1)\,/\,8\,\Gamma(n+3/2)$",
    "squared_hinge": r"exact: $1/(6(n+1))$",
}


def draw(table):
    figure, (axes,) = new(height=2.5)
    for penalty, (colour, marker, style, name) in STYLE.items():
        mine = table[table.penalty == penalty].sort_values("size")
        points(axes, mine["size"], mine, color=colour, marker=marker, label=name)
        axes.plot(
            mine["size"],
            mine.predicted,
            color=colour,
            linewidth=0.8,
            linestyle=style,
            label=EXACT[penalty],
        )
    axes.plot(mine["size"], 0.5 * mine["size"] ** -0.5, **BOUND)
    middle = mine["size"].iloc[len(mine) // 2]
    label_at(axes, middle, 0.5 * middle**-0.5, "slope $-1/2$, guaranteed", shift=(3, 3))
    axes.set(xscale="log", yscale="log", xlabel="samples per class n", ylabel="mean value (population: 0)")
    legend_below(figure, columns=2)
    return figure
