"""Told a wrong share alpha of chosen responses, RDRO and DDRO stop beside the preferred law.

(a) Exact limits over alpha with the predicted slopes. (b) Mean total variation to p+ on samples with 99 %
intervals over seeds; SFT needs no alpha.
"""

import numpy as np

from distalign.figures import METHODS, guide, label_at, legend_below, line, new, points

RIGHT = 0.39
WRONG = {"RDRO, 0.2": ("0.2", "v"), "RDRO, 0.3": ("0.3", "<"), "RDRO, 0.5": ("0.5", ">")}


def draw(table):
    figure, (left, right) = new(height=3.0, panels=2)
    limits = table[table["size"] == 0]
    for name in ("RDRO", "DDRO"):
        mine = limits[limits.method == name].sort_values("alpha")
        line(left, name, mine.alpha, mine.limit)
    near = np.array([RIGHT - 0.12, RIGHT, RIGHT + 0.12])
    for name in ("RDRO", "DDRO"):
        steep = limits[limits.method == name].slope.iloc[0]
        left.plot(
            near,
            steep * np.abs(near - RIGHT),
            color="0.4",
            linewidth=0.8,
            linestyle=METHODS[name][2],
            label=f"slope at $t$, {name}: {steep:.3f}",
        )
    left.axhline(
        limits.reference.iloc[0], color="0.5", linewidth=0.8, linestyle=":", label="the reference itself"
    )
    left.axhline(0, color=METHODS["SFT"][0], linewidth=0.8, linestyle=METHODS["SFT"][2], label="SFT")
    samples = table[table["size"] > 0]
    for name, (alpha, marker) in WRONG.items():
        mine = samples[samples.method == name].sort_values("size")
        points(
            right,
            mine["size"],
            mine,
            color=METHODS["DPO"][0],
            marker=marker,
            linestyle=":",
            label=rf"RDRO, $\alpha = {alpha}$",
        )
    for name, style, words in (("RDRO, n+/n", "RDRO", r"RDRO, $\alpha = n_+/n$"), ("SFT", "SFT", "SFT")):
        mine = samples[samples.method == name].sort_values("size")
        line(right, style, mine["size"], mine["mean"], mine.low, mine.high, label=words)
    first, start = mine["size"].iloc[0], 0.08
    guide(right, mine["size"], start, -0.5, "_")
    label_at(right, first, start, "slope $-1/2$", shift=(1, -6))
    left.set(
        xlabel=r"$\alpha$ told ($t = 0.39$)", ylabel=r"limit of total variation to $p_+$", ylim=(-0.006, 0.36)
    )
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    left.set_title("limits")
    right.set_title("samples")
    for axes in (left, right):
        legend_below(axes)
    return figure
