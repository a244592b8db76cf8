"""RDRO's gradient norms stay bounded; DDRO's spike and cost it accuracy once p+ and p- are far apart.

(a) Largest norm of all runs along training; (b) exact share of steps above a norm, over all runs; (c) total
variation to p+ in the end, means with 99 % intervals.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

STYLES = {  # colour of a method, line, marker
    "SFT": ("SFT", "-.", "^"),
    "RDRO": ("RDRO", "-", "o"),
    "RDRO, least squares": ("KLDPO", "-", "P"),
    "DDRO, floor": ("DDRO", "--", "s"),
    "DDRO, linear in the ratio": ("reference", "--", "x"),
    "DDRO, linear in its logarithm": ("reference", ":", "<"),
    "DDRO, least squares": ("DPO", "--", "v"),
    "KTO": ("Dr. DPO", ":", "D"),
}
LEFT, RIGHT = 0.3, 1.0


def draw(table):
    figure, (left, right, end) = new(height=2.9, panels=3)
    ends = table[table.part == "summary"].set_index(["method", "delta"])
    for place, (name, (style, dashes, marker)) in enumerate(STYLES.items()):
        looks = {"color": METHODS[style][0], "linestyle": dashes, "marker": marker}
        curve = table[(table.part == "curve") & (table.method == name) & (table.delta == LEFT)].sort_values(
            "step"
        )
        tail = table[(table.part == "tail") & (table.method == name) & (table.delta == RIGHT)].sort_values(
            "norm"
        )
        left.plot(curve.step, curve.norm, markevery=max(1, len(curve) // 6), label=name, **looks)
        right.plot(tail.norm, tail.share, **looks)
        for delta, shift, face in ((LEFT, -0.14, "white"), (RIGHT, 0.14, looks["color"])):
            row = ends.loc[(name, delta)]
            end.errorbar(
                row["mean"],
                place + shift,
                xerr=np.clip([[row["mean"] - row.low], [row.high - row["mean"]]], 0, None),
                color=looks["color"],
                marker=marker,
                markerfacecolor=face,
                elinewidth=0.8,
                capsize=1.5,
            )
    left.set(
        yscale="log",
        xlabel="step",
        ylabel="largest gradient norm",
        title=rf"$\delta = {LEFT}$: $p_\pm$ overlap",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="gradient norm",
        ylabel="share of steps above it",
        title=rf"$\delta = {RIGHT:g}$: nearly apart",
    )
    end.set_yticks(range(len(STYLES)), [""] * len(STYLES))
    end.invert_yaxis()
    end.set(
        xscale="log",
        xlabel=r"total variation to $p_+$",
        ylabel=" ",
        title=rf"the end; open: $\delta = {LEFT}$",
    )
    end.set_xticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
    end.minorticks_off()
    legend_below(figure, columns=4)
    return figure
