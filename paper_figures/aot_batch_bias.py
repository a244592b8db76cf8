"""Sorting within small batches changes what AOT trains.

(a) Excess of value and gradient over sorting all samples; solid lines exact, dashed first order in 1/(b+1).
(b) Spread learned by accumulating micro-batches of b; two passes give the whole batch's at once. Markers:
means with 99 % intervals over seeds.
"""

from distalign.figures import label_at, legend_below, new, points

BIAS = (
    ("least squares, normal", "value", "#56B4E9", "^", "value, least squares, normal"),
    ("least squares, uniform", "value", "#0072B2", "o", "value, least squares, uniform"),
    ("logistic, uniform", "by_spread", "#D55E00", "s", "gradient by spread, logistic, uniform"),
)


def draw(table):
    figure, (left, right) = new(height=2.8, panels=2)
    for setting, quantity, colour, marker, name in BIAS:
        mine = table[(table.part == "bias") & (table.setting == setting) & (table.quantity == quantity)]
        points(left, mine.batch, mine, color=colour, marker=marker, label=name)
        style = "--" if "logistic" in setting else "-"
        left.plot(mine.batch, mine.predicted, color=colour, linewidth=0.8, linestyle=style)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="sort batch b (pairs)",
        ylabel="excess over sorting all samples",
        title="bias of the objective",
    )
    trained, exact = (table[table.part == part].sort_values("batch") for part in ("training", "two-pass"))
    points(right, trained.batch, trained, color="#0072B2", marker="o", label="accumulated micro-batches")
    right.plot(trained.batch, trained.predicted, color="#0072B2", linewidth=0.8, label="exact: $(b-1)/(b+1)$")
    whole = exact.predicted.iloc[0]
    right.axhline(whole, color="black", linewidth=0.8, linestyle="--")
    points(right, exact.batch, exact, color="black", marker="D", label="two passes, micro-batches of 1")
    label_at(right, trained.batch.max(), whole, "whole batch sorted", shift=(-1, 3))
    label_at(right, 1, 0, "b = 1 is DPO", shift=(5, 0))
    right.set(
        xscale="log",
        xlabel="micro-batch b (pairs), global batch 64",
        ylabel="learned spread / reference's",
        ylim=(-0.06, 1.14),
        title="what is learned",
    )
    legend_below(left)
    legend_below(right)
    return figure
