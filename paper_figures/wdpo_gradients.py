"""Relative error of WDPO's penalty gradient without double backward, against how far the inputs are moved."""

import numpy as np

from distalign.figures import new

SHOWN = (
    ("adversarial", "linear", "#0072B2", "o"),
    ("adversarial", "attention", "#56B4E9", "^"),
    ("central", "linear", "#D55E00", "s"),
    ("central", "attention", "#E69F00", "D"),
)


def draw(table):
    figure, panels = new(width=2.9, height=2.8, panels=2)
    for axes, form in zip(panels, ("root", "squared"), strict=True):
        for method, policy, colour, marker in SHOWN:
            mine = table[
                (table.form == form)
                & (table.through == "policy")
                & (table.method == method)
                & (table.policy == policy)
            ].sort_values("move")
            error = np.clip([mine.error - mine.low, mine.high - mine.error], 0, None)
            axes.errorbar(
                mine.move,
                mine.error,
                error,
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                label=f"{method}, {policy}",
            )
            style = "-" if method == "adversarial" else "--"
            axes.plot(mine.move, mine.predicted, color=colour, linewidth=0.8, linestyle=style)
        axes.set(
            xscale="log",
            yscale="log",
            ylim=(1e-13, 30),
            ylabel="relative error of the penalty's gradient",
            xlabel=r"move $\rho$ of the root form" if form == "root" else r"move $2\rho$ of the squared form",
        )
    panels[0].legend(fontsize=6, title="lines: leading term; bars: range over instances", title_fontsize=6)
    return figure
