"""What the sort batch does to AOT, against the micro-batch.

Shown are the excess of its value and gradient, and the spread that a policy ends with.
"""

import numpy as np

from distalign.figures import new

BIAS = (
    ("least squares, normal", "value", "#56B4E9", "^", "value, least squares, normal"),
    ("least squares, uniform", "value", "#0072B2", "o", "value, least squares, uniform"),
    ("logistic, uniform", "by_spread", "#D55E00", "s", "gradient by spread, logistic, uniform"),
)


def draw(table):
    figure, (left, right) = new(width=2.9, height=2.8, panels=2)
    for setting, quantity, colour, marker, name in BIAS:
        mine = table[(table.part == "bias") & (table.setting == setting) & (table.quantity == quantity)]
        _measured(left, mine, colour, marker, name)
        left.plot(
            mine.batch,
            mine.predicted,
            color=colour,
            linewidth=0.8,
            linestyle="--" if "logistic" in setting else "-",
        )
    left.set(
        xscale="log", yscale="log", xlabel="sort batch b (pairs)", ylabel="excess over sorting all samples"
    )
    left.legend(title="lines: exact; dashed: first order in 1/(b+1)", title_fontsize=6, fontsize=6)
    trained, exact = (table[table.part == part].sort_values("batch") for part in ("training", "two-pass"))
    _measured(right, trained, "#0072B2", "o", "accumulated over micro-batches of b")
    right.plot(trained.batch, trained.predicted, color="#0072B2", linewidth=0.8, label="exact: $(b-1)/(b+1)$")
    right.axhline(
        exact.predicted.iloc[0],
        color="black",
        linewidth=0.8,
        linestyle="--",
        label="whole batch sorted, exact",
    )
    _measured(right, exact, "black", "*", "two passes, micro-batches of 1")
    right.annotate("unsorted", (1, -0.1), fontsize=6)
    right.set(
        xscale="log",
        xlabel="micro-batch b (pairs), global batch 64",
        ylabel="learned spread / reference's",
        ylim=(-0.14, 1.1),
    )
    right.legend(fontsize=6, loc="lower right")
    return figure


def _measured(axes, rows, colour, marker, label):
    error = np.clip([rows["mean"] - rows.low, rows.high - rows["mean"]], 0, None)
    axes.errorbar(
        rows.batch,
        rows["mean"],
        error,
        color=colour,
        marker=marker,
        linestyle="none",
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )
