"""Calibration cannot move further than the divergence allows, but usual binned errors do.

(a) Change of three calibration errors over the bound; bars: range over nine divergences, each a mean over
pairs of policies. (b) f-DPO from a calibrated reference (markers) below its exact bound (dashed).
"""

import numpy as np

from distalign.figures import BOUND, DIVERGENCES, label_at, legend_below, line, new

TRAINED = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")
MEASURES = (
    ("change", "#0072B2", "o", r"$E|\pi - p^*|_1$"),
    ("top_label", "#D55E00", "^", "binned, top label"),
    ("pairs", "#777777", "D", "binned, authors' code"),
)
MOVES = {"random": "random\nmove", "sharp": "small and\nbalanced", "swap": "near-tied\nswap places"}


def draw(table):
    figure, (bound, path) = new(height=2.7, panels=2)
    for i, (column, colour, marker, label) in enumerate(MEASURES):
        shares = [(mine[column] / mine.limit) for mine in (table[table.how == how] for how in MOVES)]
        middle = np.array([s.median() for s in shares])
        reach = np.array([middle - [s.min() for s in shares], [s.max() for s in shares] - middle])
        bound.errorbar(
            np.arange(len(MOVES)) + 0.15 * (i - 1),
            middle,
            reach,
            color=colour,
            marker=marker,
            markersize=4.5,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label=label,
        )
    bound.axhspan(1, 1e3, color="0.93", zorder=0, linewidth=0)
    bound.axhline(1, **BOUND)
    label_at(bound, -0.4, 1, "beyond the bound", shift=(1, 4))
    bound.set(
        yscale="log",
        ylim=(0.01, 100),
        xlim=(-0.45, 2.45),
        xlabel="how the policy is moved",
        ylabel="change of calibration error / bound",
        title="one error obeys, two jump",
    )
    bound.set_xticks(range(len(MOVES)), MOVES.values())
    for name in TRAINED:
        mine = table[(table.how == "training") & (table.divergence == name)]
        line(path, name, mine.step, mine.change, label=DIVERGENCES[name])
        path.plot(
            mine.step, mine.limit, color=path.lines[-1].get_color(), linewidth=0.8, linestyle=(0, (4, 2))
        )
    path.plot([], [], **{**BOUND, "color": "0.3"}, label="its bound")
    path.set(
        xlabel="steps from a calibrated reference",
        ylabel=r"calibration error $E|\pi - p^*|_1$",
        ylim=(0, None),
        title="f-DPO in training",
    )
    legend_below(bound)
    legend_below(path, columns=2)
    return figure
