"""Copeland's worst distortion is Borda's curve Bd, which no rule of victories alone can avoid.

Exact distortion against temperature: a chain of two narrow victories, the linear program over all such
chains, and the largest of random populations; beside them C, the least worst case of any rule, and 2 C, the
bound that was known.
"""

from distalign.figures import BOUND, legend_below, new

LOOK = {
    "family": {
        "color": "black",
        "marker": "s",
        "markerfacecolor": "white",
        "label": "chain of two victories",
    },
    "program": {"color": "#0072B2", "marker": "x", "label": "largest for such chains, by program"},
    "random": {"color": "#E69F00", "marker": "o", "label": "largest of random populations"},
}


def draw(table):
    figure, (axes,) = new(height=2.8)
    family = table[table.part == "family"]
    axes.plot(family.bt_temperature, family.predicted, **BOUND, label="Bd")
    axes.plot(family.bt_temperature, family.minimax, color="0.4", linewidth=0.8, linestyle=":", label="C")
    axes.plot(
        family.bt_temperature, family.paper, color="#D55E00", linewidth=0.8, linestyle="-.", label="2 C"
    )
    for part, look in LOOK.items():
        mine = table[table.part == part]
        axes.plot(mine.bt_temperature, mine.high, linestyle="none", **look)
    axes.set(
        xscale="log", yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion of Copeland"
    )
    legend_below(figure, columns=2)
    return figure
