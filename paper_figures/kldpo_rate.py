"""Error of KLDPO to the robust population optimum against n, with the guaranteed and the parametric slope."""

from distalign.figures import guide, line, new


def draw(table):
    figure, (axes,) = new(height=3.2)
    for method, style, name in (("ball", "KLDPO", "ball"), ("temperature", "optimum", "fixed temperature")):
        mine = table[table.method == method].sort_values("size")
        slope = mine.iloc[0]
        line(axes, style, mine["size"], mine.rms, mine.low, mine.high,
             label=f"{name}: slope {slope.slope:.3f} [{slope.slope_low:.3f}, {slope.slope_high:.3f}]")
        axes.plot(mine["size"], mine.predicted, color="0.35", linewidth=0.7, linestyle="--",
                  label="sandwich covariance" if method == "temperature" else None)
    sizes, start = mine["size"], table.rms.max()
    guide(axes, sizes, 1.6 * start, -0.25, "_")
    axes.annotate("guaranteed slope $-1/4$", (sizes.iloc[0], 1.8 * start), fontsize=6, va="bottom", color="0.3")
    guide(axes, sizes, 0.45 * start, -0.5, "_")
    axes.annotate("slope $-1/2$", (sizes.iloc[0], 0.13 * start), fontsize=6, va="top", color="0.3")
    axes.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel=r"rms $\|\theta_n-\theta_{\mathrm{rob}}\|_2$")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
    return figure
