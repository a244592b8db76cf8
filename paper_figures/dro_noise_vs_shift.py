"""Clean loss of four robust losses minus DPO's.

It is drawn against label noise, where one tilt wins, and against a moved reward, where the other does.
"""

import numpy as np

from distalign.figures import METHODS, new

SHOWN = (
    ("KLDPO", *METHODS["KLDPO"]),
    ("shrunk DPO", "#000000", "x", ":"),
    ("Dr. DPO", *METHODS["Dr. DPO"]),
    ("cDPO", "#56B4E9", "^", "-."),
    ("rDPO", "#0072B2", "v", ":"),
)


def draw(table):
    figure, (noise, shift) = new(width=3.0, height=2.9, panels=2)
    grounds = (
        (noise, "flip", table[table["shift"] == 0], "share of labels flipped in training"),
        (shift, "shift", table[table.flip == 0], "share of the way to a reward at 120 degrees"),
    )
    for axes, ground, rows, name in grounds:
        for method, colour, marker, style in SHOWN:
            mine = rows[rows.method == method].sort_values(ground)
            error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
            axes.errorbar(
                mine[ground],
                mine["mean"],
                error,
                color=colour,
                marker=marker,
                linestyle=style,
                elinewidth=0.8,
                capsize=1.5,
                label=f"{method} (true rate)" if method == "rDPO" else method,
            )
        axes.axhline(0, color="black", linewidth=0.7)
        axes.set(xlabel=name, ylabel="clean loss minus DPO's (nats)")
    shift.legend(fontsize=6, loc="upper left", title="99 % intervals", title_fontsize=6)
    return figure
