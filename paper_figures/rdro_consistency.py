"""Total variation to the law of preferred responses against n.

Three consistent estimators stand beside DPO at three betas.
"""

from distalign.figures import METHODS, guide, line, new


def draw(table):
    figure, (axes,) = new(height=3.4)
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
            label=f"{name}: slope {slope.slope:.3f} [{slope.slope_low:.3f}, {slope.slope_high:.3f}]",
        )
    guide(axes, mine["size"], 0.4 * mine["mean"].iloc[0], -0.5, "slope $-1/2$")
    colour = METHODS["DPO"][0]
    for name, marker, note in (
        ("DPO, beta 0.1", "v", ""),
        ("DPO, beta 1", "<", ""),
        ("DPO, best beta", ">", ", the nearest"),
    ):
        mine = table[table.estimator == name].sort_values("size")
        axes.plot(
            mine["size"],
            mine["mean"],
            color=colour,
            marker=marker,
            linestyle=":",
            label=rf"DPO, $\beta={mine.beta.iloc[0]:.3g}$" + note,
        )
        limit = axes.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    limit.set_label("DPO's limits, $n = \\infty$")
    axes.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel=r"mean total variation to $p_+$")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, fontsize=6, columnspacing=1)
    return figure
