"""On prompts held out AOT violates dominance less than DPO at its KL, at any number of labels.

(a) Violation against labelled pairs, (b) against KL, on the population; open: DPO trained to that KL. Bars:
99 % intervals over prompts and worlds.
"""

import numpy as np

from distalign.figures import BOUND, METHODS, legend_below, line, new, points


def draw(table):
    figure, (labels, spent) = new(height=2.9, panels=2)
    aot = table[table.method == "paired"].sort_values("size")
    population = 8 * aot["size"][np.isfinite(aot["size"])].max()  # where n = infinity stands on the axis
    x = aot["size"].replace(np.inf, population)
    line(labels, "AOT", x, aot["mean"], aot.low, aot.high, label="paired AOT")
    line(labels, "DPO", x, aot.rival_violation, label="DPO trained to its KL")
    labels.plot(x, aot.optimum_violation, **BOUND, label="DPO's optimum at its KL")
    labels.set(
        xscale="log",
        yscale="log",
        xlabel="labelled pairs of each training prompt",
        ylabel="violation of dominance (nats)",
    )
    labels.set_xticks(x, [f"{n:g}" if np.isfinite(n) else r"$\infty$" for n in aot["size"]])
    labels.minorticks_off()
    looks = {
        "DPO": (METHODS["DPO"][0], "v", r"DPO, $\beta$ = 1"),
        "paired": (METHODS["AOT"][0], "o", ""),
        "unpaired": ("#E69F00", "s", r"unpaired AOT, $\beta$ = 4"),
    }
    for method, (colour, marker, name) in looks.items():
        rows = table[(table.method == method) & np.isinf(table["size"])]
        points(spent, rows.kl, rows, color=colour, marker=marker, label=name or None)
        if method != "DPO":
            spent.plot(rows.kl, rows.rival_violation, color=METHODS["DPO"][0], marker="v", fillstyle="none")
    plain = table[table.method == "DPO"]
    spent.plot(plain.predicted_kl, plain.optimum_violation, "kx", label="DPO's optimum, predicted")
    spent.set(
        xscale="log",
        yscale="log",
        xlabel="KL to the reference (nats)",
        ylabel="violation of dominance (nats)",
    )
    ticks = [0.3, 1, 3]
    spent.set_xticks(ticks, [f"{t:g}" for t in ticks])
    spent.minorticks_off()
    legend_below(figure, 3)
    return figure
