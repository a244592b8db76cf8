"""KLDPO's weight exceeds the worst law's density ratio by one factor, and a small batch can undo the bound.

(a) Random problems, exact: log of weight over ratio, KL(P || Q), by the radius KL(Q || P). (b) Share of
micro-batches whose weights lie below the population's ratios, with 99 % intervals; lines: exact.
"""

from distalign.figures import legend_below, new, points

LOOK = (("#0072B2", "o"), ("#D55E00", "v"), ("#009E73", "s"))


def draw(table):
    figure, (left, right) = new(panels=2, height=2.7)
    problems = table[table.part == "problems"]
    left.plot(
        problems.radius, problems.looseness, ".", color="#999999", markersize=3, label="random problems"
    )
    ends = [problems.radius.min(), problems.radius.max()]
    left.plot(ends, ends, color="black", linewidth=0.8, linestyle=":", label="equal to the radius")
    left.set(xscale="log", yscale="log", xlabel="radius of the ball, nats", ylabel="log(weight / ratio)")
    batches = table[table.part == "batches"]
    for (temperature, mine), (colour, marker) in zip(batches.groupby("temperature"), LOOK, strict=False):
        mine = mine.sort_values("batch")
        label = f"temperature {temperature:g}"
        points(right, mine.batch, mine, color=colour, marker=marker, label=label)
        right.plot(mine.batch, mine.predicted, color=colour, linewidth=0.8)
    right.set(xscale="log", xlabel="pairs in a micro-batch B", ylabel="share of batches below")
    right.set_ylim(0, None)
    legend_below(figure, columns=3)
    return figure
