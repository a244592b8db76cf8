"""Plurality veto loses b log m where last places are noise, and a factor of m where favourites are many.

Exact distortions against the number m of responses. (a) The noise family and b (log m)/4; open: rankings
drawn from the bottom. (b) Favourites: m/4 while m is small. Lines: closed forms.
"""

import numpy as np

from distalign.figures import BOUND, legend_below, new

COLOURS = ("#0072B2", "#E69F00", "#D55E00")


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    present = sorted(table.bt_temperature.unique())
    shown = [b for b in (5, 10, 20) if b in present] or present[:3]
    for b, colour, marker in zip(shown, COLOURS, "so^", strict=False):
        mine = table[table.bt_temperature == b].sort_values("responses")
        noise = mine[mine.part == "noise"]
        bottom = noise.from_the_bottom.astype(bool)
        for rows, face in ((noise[~bottom], colour), (noise[bottom], "white")):
            look = {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "none"}
            left.plot(rows.responses, rows.distortion, **look, label=f"b = {b:g}" if face == colour else None)
            left.plot(rows.responses, rows.predicted, color=colour, linewidth=0.8)
        m = noise[~bottom].responses
        left.plot(m, b * np.log(m) / 4, **BOUND, label="b (log m)/4" if b == shown[0] else None)
        favourites = mine[mine.part == "favourites"]
        right.plot(favourites.responses, favourites.distortion, color=colour, marker=marker, linestyle="none")
        right.plot(favourites.responses, favourites.predicted, color=colour, linewidth=0.8)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="number m of responses")
    left.set(ylabel="distortion of plurality veto")
    right.set(ylabel="distortion of plurality veto")
    legend_below(figure, columns=4)
    return figure
