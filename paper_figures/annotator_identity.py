"""Anonymous answers stop at a bias of second order; a second answer of each annotator removes most of it.

(a) Error of the average reward, mean and 99 % interval; lines: exact limits. (b) Exact bias against how much
annotators differ, mean and interval over random populations; open: symmetric tastes.
"""

from distalign.figures import legend_below, new, points

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
        points(left, mine["size"], mine, **look, label=arm)
        if mine.limit.iloc[0] > 0:
            left.axhline(mine.limit.iloc[0], color=look["color"], linewidth=0.8)
        for shape, face, line in (("skewed", look["color"], "-"), ("symmetric", "white", "--")):
            mine = limits[(limits.arm == arm) & (limits["shape"] == shape)].sort_values("difference")
            if len(mine):
                style = {"markerfacecolor": face, "linestyle": line, "linewidth": 0.8}
                points(right, mine.difference, mine, **look, **style, label=f"{arm}, {shape} tastes")
    left.set(
        xscale="log", yscale="log", xlabel="annotators for each pair", ylabel="error of the average reward"
    )
    right.set(xscale="log", yscale="log", xlabel="difference s of annotators", ylabel="bias of the limit")
    legend_below(figure, columns=3)
    return figure
