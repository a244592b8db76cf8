"""Searched over users, reference, budget and pairs at once, NLHF comes to C and never above; RLHF passes it.

Exact distortions of the worst problems that gradient ascent found, and of the detour of four responses for
smallest utilities f; NLHF also on the universal case in all balls.
"""

from distalign.figures import BOUND, METHODS, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.9)
    detour = table[table.part == "detour"].sort_values("bt_temperature")
    first = detour[detour.least == detour.least.max()]
    axes.plot(first.bt_temperature, first.minimax, **BOUND, label="C, bound on NLHF")
    shown = first[first.independent <= 1e5]
    axes.plot(
        shown.bt_temperature, shown.independent, color="0.4", linewidth=0.8, linestyle=":", label="cosh²(b/2)"
    )
    for style, (least, mine) in zip(("-", "--", "-."), detour.groupby("least", sort=True), strict=False):
        label = f"RLHF, detour, f = {least:g}"
        axes.plot(
            mine.bt_temperature, mine.rlhf, color="#D55E00", linewidth=0.8, linestyle=style, label=label
        )
    search = table[table.part == "search"]
    nlhf, rlhf = METHODS["NLHF"], METHODS["RLHF"]
    ball = table[table.part == "ball"]
    axes.plot(
        ball.bt_temperature, ball.nlhf, color="0.5", marker="+", linestyle="none", label="NLHF, in any ball"
    )
    for rule, colour, marker, face in (
        ("NLHF", nlhf[0], nlhf[1], nlhf[0]),
        ("RLHF, independent pairs", rlhf[0], rlhf[1], "white"),
        ("RLHF, any pairs", rlhf[0], "^", rlhf[0]),
    ):
        mine = search[search.rule == rule]
        value = mine.nlhf if rule == "NLHF" else mine.rlhf
        axes.plot(
            mine.bt_temperature,
            value,
            color=colour,
            marker=marker,
            markerfacecolor=face,
            linestyle="none",
            label=f"{rule}, ascent",
        )
    axes.set(xscale="log", yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion")
    legend_below(figure, columns=2)
    return figure
