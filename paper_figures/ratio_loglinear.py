"""Total variation to p+ against n, log-linear policies, far from and near the bound of the ratio."""

from distalign.figures import guide, line, new

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO as it stands", "RDRO": "RDRO"}


def draw(table):
    figure, panels = new(width=3.0, height=2.8, panels=2)
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
        guide(axes, mine["size"], 0.5 * mine.predicted.iloc[0], -0.5, "slope $-1/2$")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="labelled responses n",
            ylabel=r"mean total variation to $p_+$",
            title=title,
            ylim=(1.5e-3, 0.3),
        )
        axes.legend(fontsize=6, loc="lower left")
    return figure
