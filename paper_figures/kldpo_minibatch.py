"""Within small micro-batches KLDPO trains another solution, and a rate scaled by orders of magnitude.

(a) Length over DPO's: means with 99 % intervals over seeds, lines: theory, dotted: whole data. (b) Exact mean
weight along the way to DPO's solution, dashed without the clamp.
"""

from distalign.figures import legend_below, new, points

COLOURS = {1.0: ("#56B4E9", "o"), 0.3: ("#D55E00", "s"), 0.1: ("#000000", "^")}


def draw(table):
    figure, (left, right) = new(height=2.8, panels=2)
    for temperature, (colour, marker) in COLOURS.items():
        mine = table[(table.part == "solutions") & (table.temperature == temperature)]
        if mine.empty:
            continue
        for weights, style, face in (("released", "-", colour), ("normalised", "--", "white")):
            drawn = mine[mine.weights == weights].sort_values("batch")
            label = rf"$\tau = {temperature:g}$" if weights == "released" else "_"
            points(left, drawn.batch, drawn, color=colour, marker=marker, markerfacecolor=face, label=label)
            left.plot(drawn.batch, drawn.predicted, color=colour, linestyle=style, linewidth=0.8)
        left.axhline(mine.exact.iloc[0], color=colour, linewidth=0.7, linestyle=(0, (1, 1)))
        path = table[(table.part == "path") & (table.temperature == temperature)].sort_values("factor")
        right.plot(path.factor, path.mean_weight, color=colour, linestyle="--", linewidth=0.8)
        right.plot(
            path.factor,
            path.clamped_weight,
            color=colour,
            marker=marker,
            markevery=6,
            label=rf"$\tau = {temperature:g}$, clamped",
        )
    left.set(
        xscale="log",
        yscale="log",
        xlabel="micro-batch B (pairs)",
        ylabel="length relative to DPO's",
    )
    for style, face, name in (("-", "0.4", "released"), ("--", "white", "normalised in the batch")):
        left.plot(
            [], [], color="0.4", linestyle=style, marker="o", markerfacecolor=face, linewidth=0.8, label=name
        )
    left.plot([], [], color="0.4", linestyle=(0, (1, 1)), linewidth=0.7, label=r"whole data: $\tau/(1+\tau)$")
    left.set_title("solution")
    right.set_title("scale of the gradient")
    legend_below(left, columns=2)
    right.plot([], [], color="0.4", linestyle="--", linewidth=0.8, label="without clamp")
    right.set(
        yscale="log",
        ylim=(0.8, 400),
        xlabel="length relative to DPO's, on the way to it",
        ylabel="mean weight",
    )
    legend_below(right, columns=2)
    return figure
