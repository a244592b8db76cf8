"""No theorem's bound is violated, and each says something at large n only.

Squared distance to the optimum: median and largest of all replicates, exact right-hand sides; grey: a bound
there says nothing, for no two parameters are further apart.
"""

from distalign.figures import BOUND, label_at, legend_below, new

PANELS = (
    ("Theorem 1", "WDPO, Theorem 1"),
    ("Theorem 2", "KLDPO, Theorem 2"),
    ("Proposition 1", "DPO, Proposition 1"),
)
READINGS = (("favourable", "-.", "read favourably"), ("repaired", ":", "repaired (ours)"))


def draw(table):
    figure, panels = new(height=2.6, panels=3)
    for axes, (method, title) in zip(panels, PANELS, strict=True):
        mine = table[table.method == method].sort_values("size")
        axes.plot(mine["size"], mine.largest, color="#009E73", marker="o", label="largest squared error")
        axes.plot(mine["size"], mine["median"], color="#56B4E9", marker="s", linestyle="--", label="median")
        axes.plot(mine["size"], mine.bound, **BOUND, label="bound")
        for reading, style, name in READINGS if method == "Theorem 2" else ():
            other = table[table.method == f"Theorem 2, {reading}"].sort_values("size")
            axes.plot(other["size"], other.bound, color="black", linewidth=0.9, linestyle=style, label=name)
        most = 16 if method == "Proposition 1" else 4
        axes.axhspan(most, 1e15, color="0.9", zorder=0, linewidth=0)
        bottom, top = mine["median"].min() / 3, 3 * mine.bound.max()
        label_at(axes, mine["size"].max(), most, "vacuous", shift=(-1, 2 if top > 3 * most else -2))
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="comparisons n",
            ylabel="squared distance to the optimum" if axes is panels[0] else " ",
            title=title,
            ylim=(bottom, top),
        )
    legend_below(figure, columns=5)
    return figure
