"""Average utility and KL of models that write freely, where a minority is loud: predicted and as trained.

Bars: 99 % intervals over seeds and prompts.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    rows = table.set_index("method").loc[["NLHF", "RLHF", "DPO"]]
    place = np.arange(len(rows))
    for i, (method, row) in enumerate(rows.iterrows()):
        colour, marker, _ = METHODS[method]
        error = np.clip([[row["mean"] - row.low], [row.high - row["mean"]]], 0, None)
        trained = {"color": colour, "marker": marker, "linestyle": "none", "fillstyle": "none"}
        left.plot(i - 0.12, row.predicted, **{**trained, "fillstyle": "full"}, label=f"{method}: predicted")
        left.errorbar(i + 0.12, row["mean"], yerr=error, capsize=1.5, **trained, label=f"{method}: trained")
        right.plot(i, row.kl, **trained)
    left.axhline((rows.best / rows.reference).mean(), color="0.5", linewidth=0.6, label="reference")
    left.set(xlabel="method", ylabel="distortion in a ball of 0.5 nats")
    right.axhline(0.5, color="black", linewidth=0.8, linestyle="--", label="the ball")
    right.axhline(rows.dpo_kl.mean(), color=METHODS["DPO"][0], linewidth=0.8, label="DPO's optimum")
    right.set(xlabel="method", ylabel="KL(model || reference), nats", yscale="log")
    for axes in (left, right):
        axes.set_xticks(place, rows.index)
        axes.set_xlim(-0.5, len(rows) - 0.5)
    legend_below(left, 2)
    legend_below(right, 2)
    return figure
