"""Total variation and KL to the law of preferred responses against n, for three estimators.

One panel is of labels, the other of pairs.
"""

from distalign.figures import guide, line, new

PANELS = {"labels": "labels, 39 % chosen, 12 responses", "pairs": "pairs, a mixture of groups, 10 responses"}


def draw(table):
    figure, panels = new(width=3.1, height=3.2, panels=2)
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
        guide(axes, mine["size"], 2.2 * mine.tv.iloc[0], -0.5, "guides of slope $-1/2$, $-1$")
        guide(axes, mine["size"], 0.35 * mine.kl.iloc[0], -1, "_")
        last = mine.iloc[-1]
        axes.annotate("total variation", (last["size"], 0.5 * last.tv), fontsize=7, ha="right", va="top")
        axes.annotate(r"KL$(\pi \| p_+)$", (last["size"], 16 * last.kl), fontsize=7, ha="right", va="bottom")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="labelled responses n" if design == "labels" else "comparisons n",
            ylabel=r"mean distance to $p_+$",
            title=title,
        )
        axes.legend(loc="lower left", fontsize=6)
    return figure
