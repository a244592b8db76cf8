"""Which quantiles fall short of the margin under each penalty, for one population and on average over all."""

import numpy as np

from distalign.figures import new

PENALTIES = {
    "hinge": ("#D55E00", "s", "-"),
    "squared_hinge": ("#0072B2", "o", "-"),
    "least_squares": ("#009E73", "D", "--"),
}
MARGIN = 0.5
MEASURES = {
    "short": "share\nshort",
    "effective": "effective\nshare",
    "met": "share met\nexactly",
    "depth": "mean short-\nfall (nats)",
}


def draw(table):
    figure, (left, right) = new(width=2.9, height=2.8, panels=2)
    for i, (penalty, (colour, marker, style)) in enumerate(PENALTIES.items()):
        name = penalty.replace("_", " ")
        curve = table[(table.part == "curve") & (table.penalty == penalty)].sort_values("t")
        left.step(curve.t, curve.gap, where="mid", color=colour, linestyle=style, linewidth=1.0, label=name)
        means = (
            table[(table.part == "measures") & (table.penalty == penalty)]
            .set_index("quantity")
            .loc[list(MEASURES)]
        )
        error = np.clip([means["mean"] - means.low, means.high - means["mean"]], 0, None)
        right.errorbar(
            np.arange(len(MEASURES)) + 0.15 * (i - 1),
            means["mean"],
            error,
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=1.5,
            label=name,
        )
    left.axhline(MARGIN, color="black", linewidth=0.8, linestyle=(0, (4, 2)), label="margin asked for")
    left.set(xlabel="quantile t", ylabel=r"$Q_U(t) - Q_V(t)$ (nats)", title="one population")
    left.legend(fontsize=6)
    right.set_xticks(range(len(MEASURES)), MEASURES.values())
    right.set(
        xlabel="of quantiles, at the minimiser", ylabel="mean over populations", title="all populations"
    )
    return figure
