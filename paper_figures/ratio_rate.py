"""RDRO, DDRO and SFT approach the preferred law alike: total variation like n^-1/2, KL like 1/n.

Means over seeds with 99 % intervals for total variation; legend: slopes of total variation and KL. (a) From
labels, (b) from pairs of a mixture of groups.
"""

from distalign.figures import guide, legend_below, line, new

PANELS = {"labels": "labels, 39 % chosen, 12 responses", "pairs": "pairs of a mixture, 10 responses"}


def draw(table):
    figure, panels = new(height=3.1, panels=2)
    for axes, (design, title) in zip(panels, PANELS.items()):
        for name in ("SFT", "RDRO", "DDRO"):  # DDRO lies on RDRO: its light dashes go on top
            mine = table[(table.design == design) & (table.method == name)].sort_values("size")
            slopes = mine.iloc[0]
            line(
                axes,
                name,
                mine["size"],
                mine.tv,
                mine.low,
                mine.high,
                label=f"{name + ', on RDRO' * (name == 'DDRO')}: slopes {slopes.slope_tv:.3f}, "
                f"{slopes.slope_kl:.3f}",
            )
            line(axes, name, mine["size"], mine.kl, label="_")
        guide(axes, mine["size"], 2.2 * mine.tv.iloc[0], -0.5, "_")
        guide(axes, mine["size"], 0.35 * mine.kl.iloc[0], -1, "_")
        last = mine.iloc[-1]
        axes.annotate("total variation", (last["size"], 0.5 * last.tv), fontsize=6.5, ha="right", va="top")
        axes.annotate(
            r"KL$(\pi \| p_+)$", (last["size"], 16 * last.kl), fontsize=6.5, ha="right", va="bottom"
        )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="labelled responses n" if design == "labels" else "comparisons n",
            ylabel=r"mean distance to $p_+$",
            title=title,
        )
        legend_below(axes)
    return figure
