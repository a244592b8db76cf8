"""A KL penalty and a KL budget are one problem: each lambda spends one KL, less the larger it is.

(a) KL that NLHF (filled) and RLHF (open) spend. (b) Distance of Nash mirror descent, after 300 steps or more.
Means; bands and bars: 99 % intervals over problems.
"""

from distalign.figures import legend_below, new, points

LOOK = (("#0072B2", "o"), ("#D55E00", "s"), ("#000000", "^"))


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    temperatures = sorted(table["bt_temperature"].unique())
    chosen = (temperatures[0], temperatures[len(temperatures) // 2], temperatures[-1])
    for b, (colour, marker) in zip(chosen, LOOK, strict=True):
        for measure, words, filled, style in (("kl", "NLHF", colour, "-"), ("rlhf_kl", "RLHF", "white", ":")):
            rows = table[(table["measure"] == measure) & (table["bt_temperature"] == b)]
            left.plot(
                rows["strength"],
                rows["mean"],
                color=colour,
                marker=marker,
                markerfacecolor=filled,
                linestyle=style,
                label=f"{words}, b = {b:g}",
            )
            left.fill_between(
                rows["strength"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0
            )
        rows = table[(table["measure"] == "iterated") & (table["bt_temperature"] == b)]
        points(right, rows["strength"], rows, color=colour, marker=marker, linestyle="-")
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\lambda$ / largest margin (RLHF: reward range)",
        ylabel="KL to the reference (nats)",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\lambda$ / largest margin",
        ylabel="KL(NLHF, Nash-MD)",
    )
    left.set_title("KL spent")
    right.set_title("Nash mirror descent")
    legend_below(figure, columns=3)
    return figure
