"""Anonymous answers stop at a bias of second order; a second answer of each annotator takes most of it away.

(a) Root mean square error of the average reward against the number of annotators for each pair, mean and 99 %
interval; lines: the limits of the fits. (b) Exact bias of the fits against how much annotators differ, mean
over random populations: of order s^2 without identities, s^3 after the correction, s^4 for symmetric tastes.
"""

from distalign.figures import legend_below, new

LOOKS = {
    "anonymous": {"color": "#D55E00", "marker": "s"},
    "corrected": {"color": "#0072B2", "marker": "o"},
    "types": {"color": "black", "marker": "^"},
}


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    samples, limits = table[table.part == "samples"], table[table.part == "limit"]
    for arm, look in LOOKS.items():
        mine = samples[samples.arm == arm].sort_values("size")
        spread = [mine["mean"] - mine.low, mine.high - mine["mean"]]
        left.errorbar(mine["size"], mine["mean"], yerr=spread, **look, linestyle="none", label=arm)
        if mine.limit.iloc[0] > 0:
            left.axhline(mine.limit.iloc[0], color=look["color"], linewidth=0.8)
        for shape, face, line in (("skewed", look["color"], "-"), ("symmetric", "white", "--")):
            mine = limits[(limits.arm == arm) & (limits["shape"] == shape)].sort_values("difference")
            if len(mine):
                style = {"markerfacecolor": face, "linestyle": line, "linewidth": 0.8}
                right.plot(mine.difference, mine["mean"], **look, **style, label=f"{arm}, {shape} tastes")
    left.set(
        xscale="log", yscale="log", xlabel="annotators for each pair", ylabel="error of the average reward"
    )
    right.set(xscale="log", yscale="log", xlabel="difference s of annotators", ylabel="bias of the limit")
    legend_below(figure, columns=3)
    return figure
