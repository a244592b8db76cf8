"""On a model as on a table, AOT violates dominance less than DPO at the same divergence.

(a) Violation, (b) sorted value of all pairs, against the sort batch. Markers: means with 99 % intervals over
seeds; open: table.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

WORLDS = {"simulation": ("table", 0.94, "white"), "language model": ("language model", 1.06, None)}


def draw(table):
    figure, (violation, value) = new(height=2.7, panels=2)
    for quantity, method, name in (
        ("dpo_violation", "DPO", "DPO at that divergence"),
        ("violation", "AOT", "AOT"),
    ):
        _both(violation, table, quantity, METHODS[method], name)
    violation.set(
        xscale="log", yscale="log", xlabel="sort batch (1 is DPO)", ylabel="violation of dominance (nats)"
    )
    _both(value, table, "value", METHODS["AOT"], "sorted value")
    value.set(
        xscale="log", xlabel="sort batch in training (1 is DPO)", ylabel="value with all pairs sorted (nats)"
    )
    for axes in (violation, value):
        sizes = sorted(table.batch.unique())
        axes.set_xticks(sizes, [f"{b:g}" for b in sizes])
        axes.minorticks_off()
    value.set_ylim(bottom=0)
    violation.set_title("dominance")
    value.set_title("sorted value")
    legend_below(figure, columns=3)
    return figure


def _both(axes, table, quantity, style, name):
    colour, marker, line = style
    for world, (label, shift, fill) in WORLDS.items():
        mine = table[(table.world == world) & (table.quantity == quantity)].sort_values("batch")
        error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
        axes.errorbar(
            mine.batch * shift,
            mine["mean"],
            error,
            color=colour,
            marker=marker,
            linestyle=line,
            markerfacecolor=fill or colour,
            linewidth=0.8,
            elinewidth=0.8,
            capsize=1.5,
            label=f"{name}, {label}",
        )
