"""Reward against KL: what draws of the reference predicted, and where trained writers are.

Bars: 99 % intervals over seeds and prompts; dashes: predicted points.
"""

from distalign.figures import DIVERGENCES, METHODS, legend_below, new


def draw(table):
    figure, (plane, paid) = new(panels=2, height=3.2)
    named = table.assign(divergence=table.method.str.replace(", quarter", ""))
    frontier = table[table.method == "reverse_kl"].sort_values("predicted_kl")
    plane.plot(
        frontier.predicted_kl,
        frontier.predicted,
        color="black",
        linewidth=0.8,
        label="predicted frontier",
    )
    for method, mine in named.groupby("method", sort=False):
        name = mine.divergence.iloc[0]
        colour, marker, _ = METHODS["RLHF" if name == "policy gradient" else name]
        if name == "policy gradient":
            colour, marker = "#000000", "X"
        face = "none" if method.endswith("quarter") else colour
        label = DIVERGENCES.get(name, "policy gradient (RLHF)")
        label += ", a quarter of the texts" if method.endswith("quarter") else ""
        style = {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "none"}
        plane.errorbar(
            mine.kl,
            mine["mean"],
            yerr=[(mine["mean"] - mine.low).clip(0), (mine.high - mine["mean"]).clip(0)],
            elinewidth=0.6,
            capsize=1.5,
            label=label,
            **style,
        )
        if face != "none":
            plane.plot(mine.predicted_kl, mine.predicted, "_", color=colour, markersize=7)
        paid.plot(mine.beta, mine.efficiency, **{**style, "linestyle": "-"}, linewidth=0.8)
        paid.plot(mine.beta, mine.predicted_efficiency, color=colour, linewidth=0.7, linestyle=":")
    paid.plot([], [], color="0.3", linewidth=0.7, linestyle=":", label="of the predicted optimum")
    plane.set(
        xlabel="KL to the reference, nats (bars: predicted)",
        ylabel="gain in reward (standard deviation 1)",
    )
    paid.set(
        xlabel=r"strength $\beta f''(1)$",
        ylabel="KL efficiency: gain over the largest\ngain at the KL spent",
    )
    legend_below(plane, 2)
    legend_below(paid)
    return figure
