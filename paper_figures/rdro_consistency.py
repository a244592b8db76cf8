"""RDRO, DDRO and SFT reach the preferred law at n^-1/2; no beta of DPO does.

Mean total variation to p+ under cyclic preferences with 99 % intervals over seeds; legend: slopes; thin
lines: DPO's exact limits.
"""

from distalign.figures import METHODS, guide, label_at, legend_below, line, new, points


def draw(table):
    figure, (axes,) = new(height=3.0)
    for name in ("SFT", "DDRO", "RDRO"):
        mine = table[table.estimator == name].sort_values("size")
        slope = mine.iloc[0]
        line(
            axes,
            name,
            mine["size"],
            mine["mean"],
            mine.low,
            mine.high,
            label=f"{name}: {slope.slope:.3f} [{slope.slope_low:.3f}, {slope.slope_high:.3f}]",
        )
    first, start = mine["size"].iloc[0], 0.4 * mine["mean"].iloc[0]
    guide(axes, mine["size"], start, -0.5, "_")
    label_at(axes, first, start, "slope $-1/2$", shift=(1, -6))
    colour = METHODS["DPO"][0]
    for name, marker, note in (
        ("DPO, beta 0.1", "v", ""),
        ("DPO, beta 1", "<", ""),
        ("DPO, best beta", ">", ", the nearest"),
    ):
        mine = table[table.estimator == name].sort_values("size")
        points(
            axes,
            mine["size"],
            mine,
            color=colour,
            marker=marker,
            linestyle=":",
            label=rf"DPO, $\beta={mine.beta.iloc[0]:.3g}$" + note,
        )
        axes.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    axes.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel=r"mean total variation to $p_+$")
    legend_below(figure, columns=2)
    return figure
