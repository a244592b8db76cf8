"""KLDPO's error falls like n^-1/2, twice as fast as the guarantee.

(a) Root mean square error to the robust optimum with 99 % intervals over seeds; legend: slope of the tail;
dashed: sandwich covariance. (b) Local slopes.
"""

from distalign.figures import METHODS, guide, legend_below, line, new

STYLES = {
    "DPO": "DPO",
    "ball 0.01": "AOT",
    "ball 0.05": "DDRO",
    "ball 0.15": "WDPO",
    "temperature 1": "optimum",
    "temperature 0.3": "jeffreys",
    "temperature 0.1": "reference",
}


def draw(table):
    figure, (errors, slopes) = new(height=3.2, panels=2)
    for method, style in STYLES.items():
        mine = table[table.method == method].sort_values("size")
        s = mine.iloc[0]
        line(
            errors,
            style,
            mine["size"],
            mine.rms,
            mine.low,
            mine.high,
            label=f"{method}: {s.slope:.3f} [{s.slope_low:.3f}, {s.slope_high:.3f}]",
        )
        errors.plot(mine["size"], mine.predicted, color="0.35", linewidth=0.7, linestyle="--")
        colour, marker, dash = METHODS[style]
        slopes.plot(mine["size"], mine.local, color=colour, marker=marker, linestyle=dash, linewidth=0.8)
    errors.plot([], [], color="0.35", linewidth=0.7, linestyle="--", label="sandwich covariance")
    sizes, start = mine["size"], table.rms.max()
    guide(errors, sizes, 1.6 * start, -0.25, "_")
    errors.annotate(
        "guaranteed slope $-1/4$", (sizes.iloc[1], 1.6 * start), fontsize=6, va="bottom", color="0.3"
    )
    errors.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"rms $\|\theta_n-\theta_{\mathrm{rob}}\|_2$",
    )
    for level, name in ((-0.25, "guarantee"), (-0.5, "parametric")):
        slopes.axhline(level, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)))
        slopes.annotate(
            name, (sizes.iloc[-1], level + 0.03), fontsize=6, ha="right", va="bottom", color="0.3"
        )
    slopes.set(
        xscale="log",
        xlim=errors.get_xlim(),
        ylim=(-0.8, -0.15),
        xlabel="comparisons n",
        ylabel="local slope, from the size before to n",
    )
    errors.set_title("error")
    slopes.set_title("local slopes")
    legend_below(figure, columns=3, title="slope over n >= 3,000 [99 % interval]")
    return figure
