"""On a model too KLDPO is nearly a shrunk DPO, in outputs and in weights.

(a) Length of the log-ratios over DPO's. (b) Mean paths in training, with ends; dotted: predicted lengths. (c)
Change of the weights. Markers: means with 99 % intervals over seeds.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new, points

PATHS = {
    np.inf: ("DPO", METHODS["DPO"]),
    0.3: (r"KLDPO, $\tau=0.3$", METHODS["KLDPO"]),
    1.0: (r"KLDPO, $\tau=1$", ("#0072B2", "s", "-")),
    3.0: (r"KLDPO, $\tau=3$", METHODS["WDPO"]),
}


def draw(table):
    figure, (lengths, paths, weights) = new(height=2.9, panels=3)
    end = table[table.part == "end"]
    robust = end[np.isfinite(end.temperature)]
    factor = robust[robust.quantity == "factor"]
    tau = np.geomspace(factor.temperature.min() / 1.5, factor.temperature.max() * 1.5, 200)
    lengths.plot(tau, tau / (1 + tau), color="black", linewidth=0.8, label=r"$\tau/(1+\tau)$")
    lengths.plot(
        factor.temperature,
        factor.simulated,
        color="#777777",
        marker="s",
        markersize=6,
        markerfacecolor="none",
        linestyle="none",
        label="table, exact minimiser",
    )
    colour, marker, _ = METHODS["KLDPO"]
    points(lengths, factor.temperature, factor, color=colour, marker=marker, label="language model")
    lengths.set(
        xscale="log",
        xlabel=r"temperature $\tau$",
        ylabel="length relative to DPO's",
        ylim=(0, 1.05),
    )
    path = table[table.part == "path"]
    for temperature in sorted(path.temperature.unique(), reverse=True):
        mine = path[path.temperature == temperature]
        x, y = (mine[mine.quantity == q].sort_values("step")["mean"].to_numpy() for q in ("along", "across"))
        name, (colour, marker, style) = PATHS[temperature]
        paths.plot(x, y, color=colour, linestyle=style, linewidth=0.8)
        along, across = (mine[mine.quantity == q].sort_values("step").iloc[-1] for q in ("along", "across"))
        paths.errorbar(
            x[-1],
            y[-1],
            xerr=np.clip([[along["mean"] - along.low], [along.high - along["mean"]]], 0, None),
            yerr=np.clip([[across["mean"] - across.low], [across.high - across["mean"]]], 0, None),
            color=colour,
            marker=marker,
            linestyle=style,
            elinewidth=0.8,
            label=name,
        )
        if np.isfinite(temperature):
            paths.axvline(temperature / (1 + temperature), color=colour, linewidth=0.5, linestyle=":")
    paths.set(xlabel="along the exact DPO solution\n(its length = 1)", ylabel="across it")
    for quantity, (colour, marker, _), name in (
        ("weights_length", METHODS["DPO"], "length of the weights' change"),
        ("weights_cosine", ("#0072B2", "s", "-"), "cosine of the weights' changes"),
        ("cosine", METHODS["KLDPO"], "cosine of the log-ratios"),
    ):
        rows = robust[robust.quantity == quantity]
        points(weights, rows.temperature, rows, color=colour, marker=marker, label=name)
    weights.plot(tau, tau / (1 + tau), color="black", linewidth=0.8)
    weights.set(xscale="log", xlabel=r"temperature $\tau$", ylabel="relative to DPO's run", ylim=(0, 1.6))
    for axes in (lengths, weights):
        axes.set_xticks(factor.temperature.to_list(), [f"{t:g}" for t in factor.temperature])
        axes.minorticks_off()
    lengths.set_title("length")
    paths.set_title("paths in training")
    weights.set_title("weights")
    legend_below(lengths)
    legend_below(paths, columns=2)
    legend_below(weights)
    return figure
