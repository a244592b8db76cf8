"""WDPO's error falls like n^-1/2 once n is large, twice as fast as the guarantee.

(a) Root mean square error to the robust optimum with 99 % intervals over seeds; dashed: sandwich covariance.
(b) Local slopes; open: n too small, the dual may change piece.
"""

from distalign.figures import METHODS, guide, legend_below, line, new

STYLES = {
    "W1 finite, radius 0.11": "AOT",
    "W2 finite, radius 0.3": "DDRO",
    "W1 finite, radius 0.24": "DPO",
    "W2 on R^d, radius 0.15": "WDPO",
    "W1 finite, radius 0.26": "optimum",
}
NAMES = {"W1 finite": "$W_1$, finite", "W2 finite": "$W_2$, finite", "W2 on R^d": "$W_2$ on $R^d$"}
FLOOR = 1e-5  # below it the corner's error is the solver's rounding


def draw(table):
    figure, (errors, slopes) = new(height=3.1, panels=2)
    sizes = sorted(table["size"].unique())
    for setting, style in STYLES.items():
        mine = table[table.setting == setting].sort_values("size")
        ball, radius = setting.split(", radius ")
        s, shown = mine.iloc[0], mine[mine.rms > FLOOR]
        corner = s.ties > 3
        label = f"{NAMES[ball]}, radius {radius}: " + (
            "a corner, exact in the end"
            if corner
            else f"{s.slope:.3f} [{s.slope_low:.3f}, {s.slope_high:.3f}]"
        )
        line(errors, style, shown["size"], shown.rms, shown.low, shown.high, label=label)
        if not corner:
            late = mine[mine.fitted]
            errors.plot(late["size"], late.predicted, color="0.35", linewidth=0.7, linestyle="--")
        colour, marker, dash = METHODS[style]
        slopes.plot(shown["size"], shown.local, color=colour, linestyle=dash, linewidth=0.8)
        for kept, face in ((shown[shown.fitted], colour), (shown[~shown.fitted], "white")):
            if len(kept):
                slopes.plot(
                    kept["size"],
                    kept.local,
                    color=colour,
                    linestyle="none",
                    marker=marker,
                    markerfacecolor=face,
                )
    errors.plot(
        [], [], color="0.35", linewidth=0.7, linestyle="--", label="sandwich covariance, in its regime"
    )
    guide(errors, table["size"].drop_duplicates().sort_values(), 1.6 * table.rms.max(), -0.25, "_")
    errors.annotate(
        "guaranteed slope $-1/4$", (sizes[1], 1.6 * table.rms.max()), fontsize=6, va="bottom", color="0.3"
    )
    errors.set(
        xscale="log",
        yscale="log",
        ylim=(FLOOR, None),
        xlabel="comparisons n",
        ylabel=r"rms $\|\theta_n-\theta_{\mathrm{rob}}\|_2$",
    )
    for level, name in ((-0.25, "guarantee"), (-0.5, "parametric")):
        slopes.axhline(level, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)))
        slopes.annotate(name, (sizes[-1], level + 0.03), fontsize=6, ha="right", va="bottom", color="0.3")
    slopes.set(
        xscale="log",
        xlim=errors.get_xlim(),
        ylim=(-1.05, -0.15),
        xlabel="comparisons n",
        ylabel="local slope, from the size before to n",
    )
    first = min(n for n in sizes if n >= 3000)
    errors.set_title("error")
    slopes.set_title("local slopes")
    legend_below(figure, columns=2, title=f"slope over n >= {first:,} [99 % interval]")
    return figure
