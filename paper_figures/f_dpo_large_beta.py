"""Distance of each divergence's optimum to DPO's: at the same beta, and at the same beta f''(1)."""

from distalign.figures import DIVERGENCES, METHODS, guide, line, new


def draw(table):
    figure, panels = new(panels=2, height=3.1)
    titles = (r"same $\beta$", r"same $\beta f''(1)$")
    for axes, suffix, exponent, title in zip(panels, ("_same_beta", ""), (-1, -2), titles, strict=True):
        for name in (n for n in METHODS if n in set(table.pair)):
            mine = table[table.pair == name]
            values = (mine[column + suffix] for column in ("mean", "low", "high"))
            line(axes, name, mine["size"], *values, label=DIVERGENCES[name])
        b = table["size"].drop_duplicates().sort_values()
        guide(axes, b, table["mean" + suffix].dropna().max() * 1.5, exponent, rf"$b^{{{exponent}}}$")
        axes.set(
            xscale="log",
            yscale="log",
            title=title,
            xlabel=r"$b = $" + title.removeprefix("same ") + " (units of reward)",
            ylabel="mean TV to DPO's optimum",
            ylim=(1e-8, 1),
        )
    panels[1].plot(
        *zip(*_between(table), strict=True),
        color="black",
        linewidth=0.9,
        marker=".",
        label="Jensen-Shannon to Hellinger",
    )
    for axes in panels:
        axes.legend(fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _between(table):
    mine = table[table.pair == "jensen_shannon - squared_hellinger"]
    return mine[["size", "mean"]].itertuples(index=False, name=None)
