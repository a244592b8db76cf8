"""What the source of the reference's quantiles does to paired AOT in batches.

Shown are the regret of training and the bias of the value.
"""

import numpy as np

from distalign.figures import new

ARMS = {
    "batch": ("#D55E00", "v", "of the batch"),
    "other": ("#E69F00", "s", "of the next batch"),
    "pooled": ("#0072B2", "o", "of all data"),
}


def draw(table):
    figure, (left, right) = new(width=2.9, height=3.0, panels=2)
    for arm, (colour, marker, name) in ARMS.items():
        for penalty, style, filled in (("least squares", "-", colour), ("logistic", "--", "white")):
            mine = table[(table.arm == arm) & (table.penalty == penalty)]
            regret = mine[mine.quantity == "regret"].sort_values("size")
            label = name if penalty == "least squares" else None
            _line(left, regret["size"], regret, colour, marker, filled, style, label)
            if penalty == "logistic":
                continue
            bias = mine[
                mine.quantity.isin(["bias_reference", "bias_optimum"]) & (mine["size"] < mine["size"].max())
            ]
            for quantity, face in (("bias_reference", "white"), ("bias_optimum", colour)):
                part = bias[bias.quantity == quantity].sort_values("size")
                _line(right, part["size"], part, colour, marker, face, ":" if face == "white" else "-", None)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    left.set(yscale="log", xlabel="batch b (pairs)", ylabel="regret (share of what training can gain)")
    left.legend(title="reference quantiles", title_fontsize=6, fontsize=6, loc="upper right")
    left.set_title("filled: least squares, open: logistic", fontsize=7)
    right.set(xlabel="batch b (pairs)", ylabel="bias of the value, least squares (square nats)")
    right.set_title("filled: at the optimum, open: at the reference", fontsize=7)
    return figure


def _line(axes, x, rows, colour, marker, face, style, label):
    error = np.clip([rows["mean"] - rows.low, rows.high - rows["mean"]], 0, None)
    axes.errorbar(
        x,
        rows["mean"],
        error,
        color=colour,
        marker=marker,
        markerfacecolor=face,
        linestyle=style,
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )
