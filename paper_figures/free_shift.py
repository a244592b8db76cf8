"""Loss against the share of the second group of users, for a model that writes freely.

Bars, at the end where the worse-off group is alone: 99 % intervals over prompts and seeds.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

CURVES = {
    "DPO": METHODS["DPO"],
    "KLDPO": METHODS["KLDPO"],
    "WDPO": METHODS["WDPO"],
    "DPO as short": ("#000000", "x", "--"),
    "best multiple of DPO": ("#E69F00", "P", "-"),
    "group-robust": ("#0072B2", "D", "-."),
}


def draw(table):
    angles = sorted(table.angle.unique())
    figure, panels = new(height=2.9, panels=len(angles))
    shares = np.linspace(0, 1, 6)
    for axes, angle in zip(panels, angles, strict=True):
        rows = table[table.angle == angle].set_index("method")
        for method, (colour, marker, style) in CURVES.items():
            if method in rows.index:
                loss = (1 - shares) * rows["first"][method] + shares * rows.second[method]
                axes.plot(shares, loss, color=colour, marker=marker, linestyle=style, label=method)
                row = rows.loc[method]
                bar = [[max(row["mean"] - row.low, 0)], [max(row.high - row["mean"], 0)]]
                alone = float(row.second >= row["first"])
                axes.errorbar(alone, row["mean"], yerr=bar, color=colour, fmt="none", capsize=1.5)
        axes.axvline(0.1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(xlabel=f"share of users at {angle:g} degrees\n(0.1 in training)", ylabel="DPO's loss (nats)")
    legend_below(figure, 3)
    return figure
