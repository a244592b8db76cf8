"""Violation of dominance by AOT in sort batches, and by DPO at the same divergence.

A table stands beside a language model.
"""

import numpy as np

from distalign.figures import METHODS, new

WORLDS = {"simulation": ("table", 0.94, "none"), "language model": ("language model", 1.06, "full")}


def draw(table):
    figure, (violation, value) = new(width=3.0, height=2.6, panels=2)
    for quantity, method, name in (
        ("dpo_violation", "DPO", "DPO at that divergence"),
        ("violation", "AOT", "AOT"),
    ):
        _both(violation, table, quantity, METHODS[method], name)
    violation.set(
        xscale="log", yscale="log", xlabel="sort batch (1 is DPO)", ylabel="violation of dominance (nats)"
    )
    violation.legend(fontsize=6, title="99 % intervals", title_fontsize=6)
    _both(value, table, "value", METHODS["AOT"], "sorted value")
    value.set(
        xscale="log", xlabel="sort batch in training (1 is DPO)", ylabel="value with all pairs sorted (nats)"
    )
    value.legend(fontsize=6)
    for axes in (violation, value):
        sizes = sorted(table.batch.unique())
        axes.set_xticks(sizes, [f"{b:g}" for b in sizes])
        axes.minorticks_off()
    value.set_ylim(bottom=0)
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
            fillstyle=fill,
            linewidth=0.8,
            elinewidth=0.8,
            capsize=1.5,
            label=f"{name}, {label}",
        )
