"""Gain in reward against KL in two worlds: predicted frontier (line) and what methods reach (markers).

(a) Tables of eight responses: optima of f-DPO at the same reward, with 99 % intervals over problems. (b) A
language model that writes freely, after training: 99 % intervals over prompts; the line was predicted before
training.
"""

import numpy as np

from distalign.figures import METHODS, label_at, new

NAMES = {
    "forward_kl": "forward KL",
    "jensen_shannon": "Jensen-Shannon",
    "alpha:0.3": r"$\alpha = 0.3$",
    "reverse_kl": "DPO",
    "policy gradient": "RLHF",
}
SHIFTS = {  # points from the last marker of a series to its name; "" is the line
    "table": {"": (10, -6), "forward_kl": (6, 0), "jensen_shannon": (4, -11), "alpha:0.3": (-6, 5)},
    "language model": {
        "": (-14, 14),
        "forward_kl": (5, -7),
        "jensen_shannon": (5, -11),
        "alpha:0.3": (4, -19),
        "reverse_kl": (5, 2),
        "policy gradient": (-5, 5),
    },
}


def draw(table):
    figure, panels = new(panels=2, height=2.5)
    for axes, world in zip(panels, SHIFTS, strict=True):
        here = table[table.world == world]
        line = here[here.kind == "predicted"]
        axes.plot(line.kl, line["mean"], color="black", linewidth=1)
        first = line.iloc[len(line) // 3]
        label_at(axes, first.kl, first["mean"], "predicted frontier", shift=SHIFTS[world][""])
        for method, rows in here[here.kind == "found"].groupby("method", sort=False):
            colour, marker, _ = METHODS["RLHF" if method == "policy gradient" else method]
            if method == "policy gradient":
                colour, marker = "#000000", "X"
            axes.errorbar(
                rows.kl,
                rows["mean"],
                xerr=_error(rows.kl, rows.kl_low, rows.kl_high),
                yerr=_error(rows["mean"], rows.low, rows.high),
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.7,
                capsize=1.5,
            )
            last = rows.loc[rows.kl.idxmax()]
            label_at(axes, last.kl, last["mean"], NAMES[method], colour, SHIFTS[world][method])
    panels[0].set(title="a table", ylabel="gain in reward, share of the largest")
    panels[1].set(title="a language model that writes freely", ylabel="gain in reward (s.d. 1)")
    for axes in panels:
        axes.set(xlabel="KL to the reference, nats", ylim=(0, None))
        axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    return figure


def _error(value, low, high):
    return None if low.isna().all() else np.clip([value - low, high - value], 0, None)
