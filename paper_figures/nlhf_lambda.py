"""The KL that NLHF and RLHF spend against the penalty.

Beside it, how far Nash mirror descent is from the equilibrium after 300 steps.
"""

from distalign.figures import new

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
        right.plot(rows["strength"], rows["mean"], color=colour, marker=marker, label=f"b = {b:g}")
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\lambda$ / largest margin (RLHF: / range of the reward)",
        ylabel="KL to the reference (nats)",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\lambda$ / largest margin",
        ylabel="KL(NLHF, Nash-MD after 300 steps)",
    )
    left.legend(fontsize=6)
    right.legend(fontsize=6)
    return figure
