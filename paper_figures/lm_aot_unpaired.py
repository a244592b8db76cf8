"""At BCO's divergence unpaired AOT violates dominance less; on a table BCO at a fifth of beta does, too.

Violation of dominance of the chosen over the rejected under the exact laws; means with 99 % intervals over
seeds; open: table.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

WORLDS = {"simulation": ("table", -0.08, "white"), "language model": ("language model", 0.08, None)}
ARMS = {
    "violation": "BCO,\nat its end",
    "on_its_way_violation": "BCO, beta/5,\nstretched",
    "aot_violation": "AOT",
}


def draw(table):
    figure, (axes,) = new(height=2.6)
    colour, marker, _ = METHODS["AOT"]
    for world, (label, shift, fill) in WORLDS.items():
        mine = table[table.world == world].set_index("quantity").loc[list(ARMS)]
        error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
        axes.errorbar(
            np.arange(3) + shift,
            mine["mean"],
            error,
            color=colour,
            marker=marker,
            markerfacecolor=fill or colour,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label=label,
        )
    axes.set_xticks(range(3), list(ARMS.values()))
    axes.set(xlabel="policy", ylabel="violation (nats)", xlim=(-0.5, 2.5), ylim=(0, None))
    legend_below(axes, columns=2)
    return figure
