"""Total variation to p+ against n, Markov policies over enumerated sequences."""

from distalign.figures import guide, line, new

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO, linear beyond 0.995", "RDRO": "RDRO"}


def draw(table):
    figure, (axes,) = new(width=3.4, height=2.8)
    for name, words in NAMES.items():
        mine = table[table.method == name].sort_values("size")
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
    mine = table[table.method == "DDRO, early wall"].sort_values("size")
    axes.plot(
        mine["size"],
        mine["mean"],
        color="#D55E00",
        marker="v",
        linestyle=":",
        label="DDRO, linear beyond 0.95 (truth: 0.986)",
    )
    guide(axes, mine["size"], 0.5 * mine.predicted.iloc[0], -0.5, "slope $-1/2$")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="labelled sequences n",
        ylabel=r"mean total variation to $p_+$",
        ylim=(3e-4, 0.5),
    )
    axes.legend(fontsize=6, loc="lower left")
    return figure
