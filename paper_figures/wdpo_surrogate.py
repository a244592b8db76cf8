"""How far WDPO's penalties lie below their worst case, and their minimisers from the exact ones."""

import numpy as np

from distalign.figures import guide, new

FORMS = {
    "root": ("#0072B2", "o", "-", "root form, ball"),
    "squared": ("#D55E00", "s", "--", "squared form, price"),
}


def draw(table):
    figure, (value, solution) = new(width=2.9, height=2.8, panels=2)
    for form, (colour, marker, style, name) in FORMS.items():
        mine = table[table.form == form].sort_values("radius")
        _bars(value, mine.radius, mine["mean"], mine.low, mine.high, colour, marker, name)
        value.plot(mine.radius, mine.leading, color=colour, linestyle=style, linewidth=0.8)
        _bars(
            solution,
            mine.radius,
            mine.distance,
            mine.distance_low,
            mine.distance_high,
            colour,
            marker,
            f"{name}: missed",
        )
        solution.plot(
            mine.radius,
            mine.moved,
            color=colour,
            linestyle=style,
            linewidth=0.8,
            marker=marker,
            markerfacecolor="white",
            label=f"{name}: moved from DPO's",
        )
    guide(value, np.sort(table.radius.unique()), 2e-5, 2, r"slope 2")
    value.set(xscale="log", yscale="log", xlabel=r"$\rho$", ylabel="worst case minus penalised loss (nats)")
    value.legend(fontsize=6, title="lines: leading term", title_fontsize=6)
    solution.set(
        xscale="log", yscale="log", ylim=(None, 30), xlabel=r"$\rho$", ylabel=r"distance of $\theta$"
    )
    solution.legend(fontsize=6, loc="upper left")
    return figure


def _bars(axes, x, y, low, high, colour, marker, label):
    axes.errorbar(
        x,
        y,
        np.clip([y - low, high - y], 0, None),
        color=colour,
        marker=marker,
        linestyle="none",
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )
