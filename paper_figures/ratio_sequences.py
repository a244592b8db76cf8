"""Over sequences RDRO, DDRO and SFT fall like n^-1/2; a stabiliser that sets in below the truth stops DDRO.

Mean total variation to p+ with 99 % intervals over seeds; legend: slopes with intervals; dashed: asymptotic
constants.
"""

from distalign.figures import guide, label_at, legend_below, line, new, points

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO, linear beyond 0.995", "RDRO": "RDRO"}


def draw(table):
    figure, (axes,) = new(height=3.1)
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
    points(
        axes,
        mine["size"],
        mine,
        color="#D55E00",
        marker="v",
        linestyle=":",
        label="DDRO, linear beyond 0.95 (truth: 0.986)",
    )
    first, start = mine["size"].iloc[0], 0.1
    guide(axes, mine["size"], start, -0.5, "_")
    at = mine["size"].iloc[len(mine) // 2]
    label_at(axes, at, start * (first / at) ** 0.5, "slope $-1/2$", shift=(-3, -5))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="labelled sequences n",
        ylabel=r"mean total variation to $p_+$",
        ylim=(3e-4, 0.5),
    )
    legend_below(figure)
    return figure
