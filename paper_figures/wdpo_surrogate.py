"""WDPO's gradient penalties fall short of the worst case by order rho^2, as predicted.

(a) Worst case minus penalised loss. (b) Distance of the minimiser to the exact one, beside the way it moved
from DPO's. Markers: means over problems with 99 % intervals; lines: leading term.
"""

import numpy as np

from distalign.figures import guide, label_at, legend_below, new, points

FORMS = {
    "root": ("#0072B2", "o", "-", "root form, ball"),
    "squared": ("#D55E00", "s", "--", "squared form, price"),
}


def draw(table):
    figure, (value, solution) = new(height=2.9, panels=2)
    for form, (colour, marker, style, name) in FORMS.items():
        mine = table[table.form == form].sort_values("radius")
        points(value, mine.radius, mine, color=colour, marker=marker, label=name)
        value.plot(mine.radius, mine.leading, color=colour, linestyle=style, linewidth=0.8)
        points(
            solution,
            mine.radius,
            mine,
            ("distance", "distance_low", "distance_high"),
            color=colour,
            marker=marker,
            label=f"{name}: missed",
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
    radii = np.sort(table.radius.unique())
    guide(value, radii, 2e-5, 2, "_")
    label_at(
        value,
        radii[len(radii) // 8],
        2e-5 * (radii[len(radii) // 8] / radii[0]) ** 2,
        "slope 2",
        shift=(-3, 3),
    )
    value.set(xscale="log", yscale="log", xlabel=r"$\rho$", ylabel="worst case minus\npenalised loss (nats)")
    value.set_title("value")
    solution.set_title("solution")
    legend_below(value)
    solution.set(xscale="log", yscale="log", xlabel=r"$\rho$", ylabel=r"distance of $\theta$")
    legend_below(solution)
    return figure
