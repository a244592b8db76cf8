"""Smallest modulus of strong convexity found, in units of the guaranteed one.

Beside it the coverage that the worst law leaves.
"""

from distalign.figures import BOUND, new

STYLE = {"KL": ("#009E73", "o", "-"), "W1 finite": ("#D55E00", "v", ":"), "W2 finite": ("#E69F00", "s", "--")}


def draw(table):
    figure, (left, right) = new(width=2.9, height=2.6, panels=2)
    for kind, (colour, marker, style) in STYLE.items():
        mine = table[(table.ball == kind) & (table.uncovered < table.instances)].sort_values("radius")
        left.plot(mine.radius, mine.least_ratio, color=colour, marker=marker, linestyle=style, label=kind)
        every = table[table.ball == kind].sort_values("radius")
        right.plot(
            every.radius, every.coverage_left, color=colour, marker=marker, linestyle=style, label=kind
        )
    left.axhline(1, **BOUND, label=r"guarantee $\gamma\lambda$")
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"radius $\rho$ (nats, or units of the metric)",
        ylabel=r"smallest modulus / ($\gamma\lambda$)",
    )
    right.set(xscale="log", xlabel=r"radius $\rho$", ylabel=r"coverage left, $\lambda(\rho) / \lambda(0)$")
    left.legend(fontsize=6)
    return figure
