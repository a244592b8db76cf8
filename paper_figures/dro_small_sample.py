"""Robust losses help while data are few, as plain shrinkage does, and cost later.

Excess population loss against n. Markers: means with 99 % intervals over seeds; dotted: bias plus variance by
theory, bias + tr(HV)/2n.
"""

from distalign.figures import METHODS, legend_below, new, points

SHOWN = (
    ("DPO", *METHODS["DPO"]),
    ("KLDPO 3", "#009E73", "o", "-"),
    ("KLDPO 1", "#009E73", "s", "-"),
    ("WDPO", *METHODS["WDPO"]),
    ("shrunk 3", "#000000", "x", ":"),
    ("ridge", "#777777", "^", "-."),
)
NAMES = {
    "KLDPO 3": r"KLDPO, $\tau = 3$",
    "KLDPO 1": r"KLDPO, $\tau = 1$",
    "WDPO": r"WDPO, root, $\rho = 0.05$",
    "shrunk 3": "DPO times 3/4 (control)",
    "ridge": r"ridge, $\lambda = 0.01$",
}


def draw(table):
    figure, (axes,) = new(height=3.0)
    for method, colour, marker, style in SHOWN:
        mine = table[table.method == method].sort_values("size")
        points(
            axes,
            mine["size"],
            mine,
            color=colour,
            marker=marker,
            linestyle=style,
            label=NAMES.get(method, method),
            markerfacecolor="white" if method == "KLDPO 1" else colour,
        )
        if mine.predicted.notna().any():
            axes.plot(mine["size"], mine.predicted, color="0.4", linewidth=0.7, linestyle=(0, (1, 1)))
    axes.plot([], [], color="0.4", linewidth=0.7, linestyle=(0, (1, 1)), label="bias + tr(HV)/2n")
    axes.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel="excess population loss (nats)")
    legend_below(figure, columns=2)
    return figure
