"""Loss against the share of the second group of users, for a model that writes freely."""

import numpy as np

from distalign.figures import METHODS, new

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
    figure, panels = new(width=3.0, height=2.7, panels=len(angles))
    shares = np.linspace(0, 1, 6)
    for axes, angle in zip(panels, angles, strict=True):
        rows = table[table.angle == angle].set_index("method")
        for method, (colour, marker, style) in CURVES.items():
            if method in rows.index:
                loss = (1 - shares) * rows["first"][method] + shares * rows.second[method]
                axes.plot(shares, loss, color=colour, marker=marker, linestyle=style, label=method)
        axes.axvline(0.1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(xlabel=f"share of users at {angle:g} degrees\n(0.1 in training)", ylabel="DPO's loss (nats)")
        axes.legend(fontsize=6)
    return figure
