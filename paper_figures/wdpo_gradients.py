"""WDPO's penalty gradient needs no double backward: both substitutes miss it by their leading term.

Relative error against the move: of order rho (adversarial) or rho^2 (central), until rounding. Markers:
means; bars: range over instances; lines: leading term.
"""

from distalign.figures import legend_below, new, points

SHOWN = (
    ("adversarial", "linear", "#0072B2", "o"),
    ("adversarial", "attention", "#56B4E9", "^"),
    ("central", "linear", "#D55E00", "s"),
    ("central", "attention", "#E69F00", "D"),
)


def draw(table):
    figure, panels = new(height=2.6, panels=2)
    for axes, form in zip(panels, ("root", "squared"), strict=True):
        for method, policy, colour, marker in SHOWN:
            mine = table[
                (table.form == form)
                & (table.through == "policy")
                & (table.method == method)
                & (table.policy == policy)
            ].sort_values("move")
            points(
                axes,
                mine.move,
                mine,
                ("error", "low", "high"),
                color=colour,
                marker=marker,
                label=f"{method}, {policy}",
            )
            style = "-" if method == "adversarial" else "--"
            axes.plot(mine.move, mine.predicted, color=colour, linewidth=0.8, linestyle=style)
        axes.set(
            xscale="log",
            yscale="log",
            ylabel="relative error of the penalty's gradient",
            xlabel=r"move $\rho$ of the root form" if form == "root" else r"move $2\rho$ of the squared form",
            title=f"{form} form",
        )
    legend_below(figure, columns=4)
    return figure
