"""Distance of the limit to p+ over alpha, with the predicted slopes at the true one.

Samples with wrong alphas stand beside it.
"""

import numpy as np

from distalign.figures import METHODS, guide, line, new

RIGHT = 0.39
WRONG = {"RDRO, 0.2": ("0.2", "v"), "RDRO, 0.3": ("0.3", "<"), "RDRO, 0.5": ("0.5", ">")}


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
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
        right.plot(
            mine["size"],
            mine["mean"],
            color=METHODS["DPO"][0],
            marker=marker,
            linestyle=":",
            label=rf"RDRO, $\alpha = {alpha}$",
        )
    for name, style, words in (("RDRO, n+/n", "RDRO", r"RDRO, $\alpha = n_+/n$"), ("SFT", "SFT", "SFT")):
        mine = samples[samples.method == name].sort_values("size")
        line(right, style, mine["size"], mine["mean"], mine.low, mine.high, label=words)
    guide(right, mine["size"], 0.08, -0.5, "slope $-1/2$")
    left.set(
        xlabel=r"$\alpha$ told ($t = 0.39$)", ylabel=r"limit of total variation to $p_+$", ylim=(-0.006, 0.36)
    )
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    for axes in (left, right):
        axes.legend(fontsize=6)
    return figure
