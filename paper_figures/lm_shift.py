"""A shift of the users, on a table and on a language model.

Loss against the share of the second group of users, and loss of the worse-off group.
"""

import numpy as np

from distalign.figures import METHODS, new

CURVES = {
    "DPO": METHODS["DPO"],
    "KLDPO": METHODS["KLDPO"],
    "DPO as short": ("#000000", "x", "--"),
    "best multiple of DPO": ("#E69F00", "P", "-"),
    "group-robust": ("#0072B2", "D", "-."),
}
WORLDS = {"simulation": ("table", -0.13, "none"), "language model": ("language model", 0.13, "full")}
ANGLES = {60.0: ("#777777", "^"), 120.0: ("#000000", "o")}


def draw(table):
    figure, panels = new(width=2.4, height=2.9, panels=3)
    shares = np.linspace(0, 1, 6)
    for axes, angle in zip(panels[:2], ANGLES, strict=True):
        for method, (colour, marker, style) in CURVES.items():
            for world, (_, _, fill) in WORLDS.items():
                mine = table[
                    (table.angle == angle) & (table.method == method) & (table.world == world)
                ].set_index("quantity")
                if mine.empty:
                    continue
                loss = (1 - shares) * mine["mean"]["first"] + shares * mine["mean"]["second"]
                table_world = world == "simulation"
                axes.plot(
                    shares,
                    loss,
                    color=colour,
                    marker=None if table_world else marker,
                    fillstyle=fill,
                    linestyle=style if table_world else "none",
                    linewidth=0.9,
                    label=None if table_world else method,
                )
        axes.axvline(0.1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(xlabel=f"share of users at {angle:g} degrees\n(0.1 in training)", ylabel="DPO's loss (nats)")
    panels[0].set_ylim(top=panels[0].get_ylim()[1] + 0.15)
    panels[0].legend(fontsize=6, title="lines: table, marks: language model", title_fontsize=6)
    worst, names = panels[2], list(CURVES)
    for angle, (colour, marker) in ANGLES.items():
        for world, (label, shift, fill) in WORLDS.items():
            mine = table[
                (table.angle == angle) & (table.world == world) & (table.quantity == "worst")
            ].set_index("method")
            mine = mine.loc[[m for m in names if m in mine.index]]
            error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
            worst.errorbar(
                mine["mean"],
                [names.index(m) + shift for m in mine.index],
                xerr=error,
                color=colour,
                marker=marker,
                linestyle="none",
                fillstyle=fill,
                elinewidth=0.8,
                capsize=1.5,
                label=f"{angle:g} degrees, {label}",
            )
    worst.set_yticks(range(len(names)), names, fontsize=6)
    worst.set(
        xlabel="loss of the worse-off group\n(nats; 99 % intervals)",
        ylabel="method",
        ylim=(len(names) - 0.5, -2.0),
    )
    worst.legend(fontsize=6, loc="upper right")
    return figure
