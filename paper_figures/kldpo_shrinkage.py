"""KLDPO is a shrunk DPO, and Dr. DPO a stretched one.

Length of each minimiser over DPO's, exact to the solver's tolerance, against the temperature; lines: the
predicted factors.
"""

import numpy as np

from distalign.figures import METHODS, label_at, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.7)
    shown = (
        ("temperature", "KLDPO", "o", "KLDPO, fixed temperature"),
        ("ball", "KLDPO", "D", "KLDPO, ball"),
        ("dr_dpo", "Dr. DPO", "s", "Dr. DPO"),
    )
    for method, style, marker, name in shown:
        mine = table[table.method == method]
        axes.plot(
            mine.temperature,
            mine.factor,
            color=METHODS[style][0],
            marker=marker,
            linestyle="none",
            label=name,
            markerfacecolor="none" if method == "ball" else None,
        )
    tau = np.geomspace(table.temperature.min() / 1.5, table.temperature.max() * 1.5, 400)
    axes.plot(tau, tau / (1 + tau), color="black", linewidth=0.8, label=r"$\tau/(1+\tau)$")
    above = np.geomspace(table.temperature[table.method == "dr_dpo"].min() / 1.05, tau[-1], 400)
    axes.plot(
        above, above / (above - 1), color="black", linewidth=0.8, linestyle="--", label=r"$\beta'/(\beta'-1)$"
    )
    axes.axhline(1, color="0.6", linewidth=0.6, linestyle=":")
    label_at(axes, tau[0], 1, "DPO", shift=(1, 2))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"temperature $\tau$ (for Dr. DPO $\beta'$)",
        ylabel="length relative to DPO's",
    )
    legend_below(figure, columns=2)
    return figure
