"""Squared errors lie far below the theorems' right-hand sides, which say something at huge n only."""

from distalign.figures import BOUND, new

PANELS = (
    ("Theorem 1", "WDPO, Theorem 1"),
    ("Theorem 2", "KLDPO, Theorem 2"),
    ("Proposition 1", "DPO, Proposition 1"),
)


def draw(table):
    figure, panels = new(width=2.3, height=2.8, panels=3)
    for axes, (method, title) in zip(panels, PANELS, strict=True):
        mine = table[table.method == method].sort_values("size")
        axes.plot(mine["size"], mine.largest, color="#009E73", marker="o", label="largest squared error")
        axes.plot(mine["size"], mine["median"], color="#56B4E9", marker="s", linestyle="--", label="median")
        axes.plot(mine["size"], mine.bound, **BOUND, label="bound")
        if method == "Theorem 2":
            for reading, style, name in (
                ("favourable", "-.", "read favourably"),
                ("repaired", ":", "repaired (ours)"),
            ):
                other = table[table.method == f"Theorem 2, {reading}"].sort_values("size")
                axes.plot(
                    other["size"], other.bound, color="black", linewidth=0.9, linestyle=style, label=name
                )
        most = 16 if method == "Proposition 1" else 4
        axes.axhspan(most, 1e12, color="0.85", zorder=0)
        axes.annotate("vacuous", (mine["size"].max(), 1.5 * most), fontsize=6, ha="right", color="0.3")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="comparisons n",
            title=title,
            ylim=(mine["median"].min() / 3, 3 * mine.bound.max()),
        )
        axes.set_ylabel("squared distance to the optimum")
    for axes, shown in ((panels[0], slice(0, 2)), (panels[1], slice(2, 5))):
        lines, names = axes.get_legend_handles_labels()
        axes.legend(lines[shown], names[shown], fontsize=6, loc="lower left")
    return figure
