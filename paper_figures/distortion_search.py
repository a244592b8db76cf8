"""How far each search for a worst population ends below its proved or conjectured bound, against
temperature.
"""

import numpy as np

from distalign.figures import new

LOOK = {
    ("Borda", True): ("#E69F00", "s", "Borda: linear program, worst comparisons"),
    ("Borda", False): ("#E69F00", "x", "Borda: linear program, random comparisons"),
    ("maximal lottery", True): ("#56B4E9", "D", "maximal lottery: linear program, pure"),
    ("maximal lottery", False): ("#56B4E9", "+", "maximal lottery: linear program, random"),
    ("RLHF in a KL ball", True): ("#D55E00", "v", "RLHF in a KL ball: black box, known start"),
    ("RLHF in a KL ball", False): ("#D55E00", "1", "RLHF in a KL ball: black box, from scratch"),
    ("RLHF on policy", True): ("#0072B2", "o", "RLHF on policy: black box, known start"),
    ("RLHF on policy", False): ("#0072B2", "2", "RLHF on policy: black box, from scratch"),
}


def draw(table):
    figure, (axes,) = new(width=4.4, height=3.3)
    for (rule, worst), (colour, marker, words) in LOOK.items():
        rows = table[(table["rule"] == rule) & (table["worst"] == worst)]
        axes.plot(
            rows["bt_temperature"],
            np.maximum(1 - rows["share"], 1e-13),
            color=colour,
            marker=marker,
            linestyle="none",
            markersize=5,
            label=words,
        )
    axes.axhline(1e-3, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)), label="99.9 % of the bound")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Bradley-Terry temperature b",
        ylabel="1 - distortion found / (conjectured) bound",
    )
    axes.legend(fontsize=5.5, ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1))
    return figure
