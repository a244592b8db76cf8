"""At a strong pull every divergence gives DPO's policy, if betas are compared through beta f''(1).

Mean total variation to DPO's optimum with 99 % intervals over problems: (a) at equal beta it falls like 1/b,
(b) at equal beta f''(1) like 1/b^2.
"""

from distalign.figures import DIVERGENCES, METHODS, guide, label_at, legend_below, line, new, points


def draw(table):
    figure, panels = new(panels=2, height=2.9)
    titles = (r"same $\beta$", r"same $\beta f''(1)$")
    for axes, suffix, exponent, title in zip(panels, ("_same_beta", ""), (-1, -2), titles, strict=True):
        for name in (n for n in METHODS if n in set(table.pair)):
            mine = table[table.pair == name]
            values = (mine[column + suffix] for column in ("mean", "low", "high"))
            line(axes, name, mine["size"], *values, label=DIVERGENCES[name])
        b = table["size"].drop_duplicates().sort_values()
        start = table["mean" + suffix].dropna().max() * 1.5
        guide(axes, b, start, exponent, "_")
        label_at(
            axes,
            b.iloc[len(b) // 8],
            start * (b.iloc[len(b) // 8] / b.iloc[0]) ** exponent,
            f"slope {exponent}",
            shift=(4, 3),
        )
        axes.set(
            xscale="log",
            yscale="log",
            title=title,
            xlabel=r"$b = $" + title.removeprefix("same ") + " (units of reward)",
            ylabel="mean TV to DPO's optimum",
            ylim=(1e-8, 1),
        )
    between = table[table.pair == "jensen_shannon - squared_hellinger"]
    points(
        panels[1],
        between["size"],
        between,
        color="black",
        linestyle="-",
        linewidth=0.9,
        marker=".",
        label="Jensen-Shannon to Hellinger",
    )
    legend_below(figure, columns=4)
    return figure
