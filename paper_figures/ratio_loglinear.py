"""Log-linear policies reach the preferred law at n^-1/2, DDRO and RDRO with lower constants than SFT.

Mean total variation to p+ with 99 % intervals over seeds; legend: slopes with intervals; dashed: asymptotic
constants. (a) Far from, (b) near the bound of the ratio.
"""

from distalign.figures import guide, label_at, legend_below, line, new

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO as it stands", "RDRO": "RDRO"}


def draw(table):
    figure, panels = new(height=2.9, panels=2)
    titles = {"moderate": r"$\sup\, p_+/p_- = 1.5$", "near the bound": r"$\sup\, p_+/p_- = 32$"}
    for axes, (place, title) in zip(panels, titles.items(), strict=True):
        for name, words in NAMES.items():
            mine = table[(table.population == place) & (table.method == name)].sort_values("size")
            line(
                axes,
                name,
                mine["size"],
                mine["mean"],
                mine.low,
                mine.high,
                label=f"{words}: {mine.slope.iloc[0]:.3f} [{mine.slope_low.iloc[0]:.3f}, "
                f"{mine.slope_high.iloc[0]:.3f}]",
            )
            axes.plot(
                mine["size"],
                mine.predicted,
                color="0.5",
                linewidth=0.8,
                linestyle=(0, (4, 2)),
                label="asymptotic constants" if name == "RDRO" else None,
            )
        first, start = mine["size"].iloc[0], 0.5 * mine.predicted.iloc[0]
        guide(axes, mine["size"], start, -0.5, "_")
        label_at(axes, first, start, "slope $-1/2$", shift=(1, -6))
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="labelled responses n",
            ylabel=r"mean total variation to $p_+$",
            title=title,
            ylim=(1.5e-3, 0.3),
        )
        legend_below(axes)
    return figure
