"""Rounding margins away from 0 costs every deterministic rule Bd, which is above 5/8 b for every b.

Exact distortions: Copeland on the chain, all rules on their worst rotation of a cycle, which with exact
margins costs Borda, Schulze and ranked pairs nothing, and the largest of random populations.
"""

from distalign.figures import BOUND, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.8)
    chain, cycle, random = (table[table.part == part] for part in ("chain", "cycle", "random"))
    lines = (
        ("predicted", {**BOUND, "label": "Bd"}),
        ("paper", {"color": "#D55E00", "linewidth": 0.8, "linestyle": "-.", "label": "5/8 b"}),
        ("minimax", {"color": "0.4", "linewidth": 0.8, "linestyle": ":", "label": "C"}),
    )
    for column, look in lines:
        axes.plot(chain.bt_temperature, chain[column], **look)
    exact = cycle[cycle.rule != "Copeland"]
    points = (
        (chain, "distortion", {"marker": "s", "color": "black", "mfc": "white", "label": "Copeland, chain"}),
        (cycle, "distortion", {"marker": "x", "color": "#0072B2", "label": "all rules, cycle"}),
        (exact, "exact", {"marker": "^", "color": "#009E73", "label": "exact margins, cycle"}),
        (random, "distortion", {"marker": "o", "color": "#E69F00", "label": "Copeland, random"}),
    )
    for rows, column, look in points:
        axes.plot(rows.bt_temperature, rows[column], linestyle="none", **look)
    axes.set(xscale="log", yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion")
    legend_below(figure, columns=3)
    return figure
