"""On a model as on a table, only an objective told the groups protects them all.

(a, b) Loss against the share of the second group, at two angles; lines: table, markers: language model. (c)
Loss of the worse-off group; open: table. Bars: 99 % intervals over seeds.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new, points

CURVES = {
    "DPO": METHODS["DPO"],
    "KLDPO": METHODS["KLDPO"],
    "DPO as short": ("#000000", "x", "--"),
    "best multiple of DPO": ("#E69F00", "P", "-"),
    "group-robust": ("#0072B2", "D", "-."),
}
WORLDS = {"simulation": ("table", -0.13, "white"), "language model": ("language model", 0.13, None)}
ANGLES = {60.0: ("#777777", "^"), 120.0: ("#000000", "o")}


def draw(table):
    figure, panels = new(height=3.0, panels=3)
    for axes, angle in zip(panels[:2], ANGLES, strict=True):
        for method, (colour, marker, style) in CURVES.items():
            mine = table[(table.angle == angle) & (table.method == method)]
            for world in WORLDS:
                ends = mine[mine.world == world].set_index("quantity")
                if ends.empty:
                    continue
                ends = ends.loc[["first", "second"]]
                if world == "simulation":
                    axes.plot([0, 1], ends["mean"], color=colour, linestyle=style, linewidth=0.9)
                else:
                    points(axes, [0, 1], ends, color=colour, marker=marker, label=method)
        axes.axvline(0.1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(
            xlabel="share of the second group\n(0.1 in training)",
            ylabel="DPO's loss (nats)",
            title=f"groups at {angle:g}°",
            xlim=(-0.08, 1.08),
        )
    worst, names = panels[2], list(CURVES)
    for angle, (colour, marker) in ANGLES.items():
        for world, (label, shift, face) in WORLDS.items():
            mine = table[
                (table.angle == angle) & (table.world == world) & (table.quantity == "worst")
            ].set_index("method")
            mine = mine.loc[[m for m in names if m in mine.index]]
            worst.errorbar(
                mine["mean"],
                [names.index(m) + shift for m in mine.index],
                xerr=np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None),
                color=colour,
                marker=marker,
                markerfacecolor=face or colour,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                label=f"{angle:g}°, {label}",
            )
    worst.set_yticks(range(len(names)), [n.replace(" of DPO", "") for n in names])
    worst.tick_params(axis="y", labelsize=6.5)
    worst.set(
        xlabel="loss of the worse-off\ngroup (nats)",
        ylabel="method",
        ylim=(len(names) - 0.5, -0.5),
        title="both angles",
    )
    legend_below(panels[0], columns=2)
    legend_below(panels[1], columns=2)
    legend_below(worst)
    return figure
