"""Robust losses are strongly convex with at least the guaranteed modulus.

(a) Smallest modulus found over gamma lambda, of all pairs of parameters tried; (b) coverage that the worst
law of the ball leaves. Values are exact for each pair.
"""

from distalign.figures import BOUND, label_at, legend_below, new

STYLE = {"KL": ("#009E73", "o", "-"), "W1 finite": ("#D55E00", "v", ":"), "W2 finite": ("#E69F00", "s", "--")}


def draw(table):
    figure, (left, right) = new(height=2.6, panels=2)
    for kind, (colour, marker, style) in STYLE.items():
        mine = table[(table.ball == kind) & (table.uncovered < table.instances)].sort_values("radius")
        left.plot(mine.radius, mine.least_ratio, color=colour, marker=marker, linestyle=style, label=kind)
        every = table[table.ball == kind].sort_values("radius")
        right.plot(
            every.radius, every.coverage_left, color=colour, marker=marker, linestyle=style, label=kind
        )
    left.axhline(1, **BOUND)
    label_at(left, table.radius.min(), 1, r"guarantee $\gamma\lambda$", shift=(1, 2))
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"radius $\rho$ (nats, or units of the metric)",
        ylabel=r"smallest modulus / ($\gamma\lambda$)",
    )
    right.set(xscale="log", xlabel=r"radius $\rho$", ylabel=r"coverage left, $\lambda(\rho) / \lambda(0)$")
    left.set_title("modulus")
    right.set_title("coverage of the worst law")
    legend_below(figure, columns=3)
    return figure
