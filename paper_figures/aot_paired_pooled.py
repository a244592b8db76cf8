"""Small batches train a better policy if the reference's quantiles are pooled over all data.

(a) Regret; filled: least squares, open: logistic. (b) Bias of the least-squares value; filled: at the
optimum, open: at the reference. Markers: means with 99 % intervals over seeds.
"""

from distalign.figures import legend_below, new, points

ARMS = {
    "batch": ("#D55E00", "v", "reference quantiles of the batch"),
    "other": ("#E69F00", "s", "of the next batch"),
    "pooled": ("#0072B2", "o", "of all data"),
}


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    for arm, (colour, marker, name) in ARMS.items():
        look = {"color": colour, "marker": marker}
        for penalty, style, filled in (("least squares", "-", colour), ("logistic", "--", "white")):
            mine = table[(table.arm == arm) & (table.penalty == penalty)]
            regret = mine[mine.quantity == "regret"].sort_values("size")
            label = name if penalty == "least squares" else "_"
            points(left, regret["size"], regret, **look, markerfacecolor=filled, linestyle=style, label=label)
        mine = table[
            (table.arm == arm) & (table.penalty == "least squares") & (table["size"] < table["size"].max())
        ]
        for quantity, face, style in (("bias_reference", "white", ":"), ("bias_optimum", colour, "-")):
            part = mine[mine.quantity == quantity].sort_values("size")
            points(right, part["size"], part, **look, markerfacecolor=face, linestyle=style)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    left.set(yscale="log", xlabel="batch b (pairs)", ylabel="regret (share of what training can gain)")
    left.set_title("filled: least squares, open: logistic")
    right.set(xlabel="batch b (pairs)", ylabel="bias of the value (square nats)")
    right.set_title("filled: at the optimum, open: at the reference")
    legend_below(figure, columns=3)
    return figure
