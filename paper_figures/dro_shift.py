"""Robustness without groups only shrinks: it wins when the reward conflicts, and groups do better.

(a, b) Reward as it moves away by two angles. (c) Loss of the worse-off group of a mixture, with the cosine to
DPO's direction where it turns. Bars: 99 % intervals over seeds.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

CURVES = (
    ("DPO", *METHODS["DPO"]),
    ("KLDPO", *METHODS["KLDPO"]),
    ("shrunk DPO", "#000000", "x", ":"),
    ("WDPO", *METHODS["WDPO"]),
)
BARS = {
    "DPO": "DPO",
    "KLDPO, reaches 0.3": "KLDPO 0.3",
    "KLDPO, reaches 0.5": "KLDPO 0.5",
    "WDPO, order 1": "WDPO 1",
    "WDPO, order 2": "WDPO 2",
    "best multiple of DPO": "best multiple",
    "group-robust": "group-robust",
}
ANGLES = {60.0: ("#E69F00", "^", -0.15), 120.0: ("#0072B2", "o", 0.15)}


def draw(table):
    figure, panels = new(height=3.1, panels=3)
    for axes, angle in zip(panels[:2], ANGLES, strict=True):
        for method, colour, marker, style in CURVES:
            mine = table[
                (table.part == "reward") & (table.angle == angle) & (table.method == method)
            ].sort_values("share")
            error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
            axes.plot(mine.share, mine["mean"], color=colour, marker=marker, linestyle=style, label=method)
            axes.errorbar(
                mine.share, mine["mean"], error, fmt="none", ecolor=colour, elinewidth=0.5, alpha=0.5
            )
        axes.axhline(0, color="black", linewidth=0.6)
        axes.axvline(0.1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(
            xlabel=f"share of a reward at {angle:g}°\n(0.1 in training)",
            ylabel="reward over reference's (nats)",
            ylim=(-0.7, 1.5),
        )
    worst = panels[2]
    for angle, (colour, marker, shift) in ANGLES.items():
        mine = table[(table.part == "mixture") & (table.angle == angle)].set_index("method").loc[list(BARS)]
        place = np.arange(len(BARS)) + shift
        error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
        worst.errorbar(
            mine["mean"],
            place,
            xerr=error,
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label=f"{angle:g} degrees",
        )
        for x, y, c in zip(mine.high, place, mine.cosine, strict=True):
            if c < 0.995:
                worst.annotate(
                    f"{c:.2f}",
                    (x, y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    fontsize=6,
                    va="center",
                    color=colour,
                )
    worst.axvline(np.log(2), color="0.5", linewidth=0.7, linestyle=":", label="reference, log 2")
    worst.set_yticks(range(len(BARS)), BARS.values(), fontsize=6.5)
    worst.set(
        xlabel="loss of the worse-off\ngroup (nats)",
        ylabel="method",
        ylim=(len(BARS) - 0.5, -0.5),
    )
    panels[0].set_title("reward, 60°")
    panels[1].set_title("reward, 120°")
    worst.set_title("mixture of groups")
    legend_below(panels[0], columns=2)
    legend_below(panels[1], columns=2)
    legend_below(worst)
    return figure
