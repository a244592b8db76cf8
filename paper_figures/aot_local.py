"""No rate better than n^-1/2 holds for all classes: two policies that approach each other keep it.

Markers: expected excess with 99 % intervals over seeds; solid: its exact limit; dash-dotted: a fixed class
with an isolated minimum, where the excess falls like 1/n.
"""

from distalign.figures import guide, label_at, legend_below, new, points


def draw(table):
    figure, (axes,) = new(height=2.5)
    points(axes, table["size"], table, color="#0072B2", marker="o", label="two policies, local alternatives")
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
        label=f"isolated minimum: ${(table.isolated * table['size']).iloc[0]:.2f} / n$",
    )
    start = 3 * table["mean"].iloc[0]
    guide(axes, table["size"], start, -0.5, "_")
    label_at(axes, table["size"].iloc[0], start, "slope $-1/2$ (guarantee)", shift=(10, 0))
    axes.set(xscale="log", yscale="log", xlabel="responses of each class n", ylabel="expected excess")
    legend_below(figure, columns=2)
    return figure
