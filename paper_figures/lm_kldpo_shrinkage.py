"""KLDPO of a language model against its own DPO run.

Lengths on the model and on a table, the paths of both runs, and the change of the weights.
"""

import numpy as np

from distalign.figures import METHODS, new

PATHS = {
    np.inf: ("DPO", METHODS["DPO"]),
    0.3: (r"KLDPO, $\tau=0.3$", METHODS["KLDPO"]),
    1.0: (r"KLDPO, $\tau=1$", METHODS["RDRO"]),
    3.0: (r"KLDPO, $\tau=3$", METHODS["WDPO"]),
}


def draw(table):
    figure, (lengths, paths, weights) = new(width=2.4, height=2.6, panels=3)
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
    _points(lengths, factor, METHODS["KLDPO"], "language model")
    lengths.set(
        xscale="log",
        xlabel=r"temperature $\tau$",
        ylabel="length of log-ratios relative to DPO's",
        ylim=(0, 1.05),
    )
    lengths.legend(fontsize=6, title="99 % intervals", title_fontsize=6)
    path = table[table.part == "path"]
    for temperature in sorted(path.temperature.unique(), reverse=True):
        mine = path[path.temperature == temperature]
        x, y = (mine[mine.quantity == q].sort_values("step")["mean"].to_numpy() for q in ("along", "across"))
        name, (colour, marker, style) = PATHS[temperature]
        paths.plot(
            x, y, color=colour, linestyle=style, linewidth=0.8, marker=marker, markersize=2, label=name
        )
        paths.plot(x[-1], y[-1], color=colour, marker="*", markersize=8, linestyle="none")
        if np.isfinite(temperature):
            paths.axvline(temperature / (1 + temperature), color=colour, linewidth=0.5, linestyle=":")
    paths.set(xlabel="along the exact DPO solution\n(its length = 1; stars: ends)", ylabel="across it")
    paths.set_ylim(top=1.35 * paths.get_ylim()[1])
    paths.legend(fontsize=6, loc="upper left", ncols=2)
    for quantity, style, name in (
        ("weights_length", METHODS["DPO"], "length of the weights' change"),
        ("weights_cosine", METHODS["RDRO"], "cosine of the weights' changes"),
        ("cosine", METHODS["KLDPO"], "cosine of the log-ratios"),
    ):
        _points(weights, robust[robust.quantity == quantity], style, name)
    weights.plot(tau, tau / (1 + tau), color="black", linewidth=0.8, label=r"$\tau/(1+\tau)$")
    weights.set(xscale="log", xlabel=r"temperature $\tau$", ylabel="relative to DPO's run", ylim=(0, 1.6))
    weights.legend(fontsize=6)
    for axes in (lengths, weights):
        axes.set_xticks(factor.temperature.to_list(), [f"{t:g}" for t in factor.temperature])
        axes.minorticks_off()
    return figure


def _points(axes, mine, style, name):
    colour, marker, _ = style
    error = np.clip([mine["mean"] - mine.low, mine.high - mine["mean"]], 0, None)
    axes.errorbar(
        mine.temperature,
        mine["mean"],
        error,
        color=colour,
        marker=marker,
        linestyle="none",
        elinewidth=0.8,
        capsize=1.5,
        label=name,
    )
