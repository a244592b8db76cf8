"""Where first choices mislead, plurality and random dictator lose a factor that grows with m; other rules do
not.

(a) Distortion, exact, if all agree on the second choice. Utility on random populations of (b) the average and
(c) the worst-off user, means with 99 % intervals.
"""

import numpy as np

from distalign.figures import BOUND, METHODS, legend_below, new
from distalign.theory.distortion.constants import minimax_distortion

LOOK = {
    **{rule: METHODS[rule] for rule in ("Borda", "maximal lottery", "RLHF", "NLHF")},
    "Copeland": ("#009E73", "P", "--"),
    "plurality": ("#CC79A7", "^", "-."),
    "random dictator": ("#000000", "x", ":"),
}
CROWDS = {
    "unstructured": ("#000000", "o", -0.2, "unstructured"),
    "two camps": ("#D55E00", "s", 0.0, "two camps"),
    "ideal points": ("#0072B2", "^", 0.2, "ideal points"),
}
MEASURES = {"average_utility": "average user", "worst_off": "worst-off type"}


def draw(table):
    figure, (hero, *panels) = new(height=3.0, panels=3)
    second = table[table["population"].str.startswith("common second") & (table["measure"] == "distortion")]
    second = second.assign(size=second["population"].str.split().str[-1].astype(int))
    highest = second["bt_temperature"].max()
    for rule, (colour, marker, style) in LOOK.items():
        rows = second[(second["rule"] == rule) & (second["bt_temperature"] == highest)].sort_values("size")
        hero.plot(rows["size"], rows["mean"], color=colour, marker=marker, linestyle=style, label=rule)
    hero.axhline(float(minimax_distortion(highest)), **BOUND, label="C, best of any rule")
    sizes = sorted(second["size"].unique())
    hero.set(
        xscale="log",
        yscale="log",
        xlabel=f"alternatives m, b = {highest:g}",
        ylabel="distortion",
        title="common second choice",
    )
    hero.set_xticks(sizes, [str(m) for m in sizes])
    hero.minorticks_off()
    temperature = sorted(table["bt_temperature"].unique())[table["bt_temperature"].nunique() // 2]
    at = table[table["bt_temperature"] == temperature]
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for crowd, (colour, marker, shift, name) in CROWDS.items():
            rows = at[(at["measure"] == measure) & (at["population"] == crowd)].set_index("rule")
            rows = rows.loc[list(LOOK)]
            axes.errorbar(
                rows["mean"],
                np.arange(len(LOOK)) + shift,
                xerr=np.clip([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], 0, None),
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.8,
                label=name,
            )
        axes.set_yticks(range(len(LOOK)), list(LOOK) if axes is panels[0] else [""] * len(LOOK))
        axes.invert_yaxis()
        axes.set(xlabel=f"utility, b = {temperature:g}", ylabel=" ", title=title)
    legend_below(hero, columns=2)
    for axes in panels:
        legend_below(axes)
    return figure
