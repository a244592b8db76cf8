"""While some response was never rejected, DDRO as it stands is worse than SFT; RDRO is not.

(a) Mean total variation to p+ with 99 % intervals over seeds. (b) Mean of the largest ratio to the reference,
which the truth keeps below 1/t.
"""

from distalign.figures import BOUND, METHODS, legend_below, line, new, points

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO, domain enforced", "RDRO": "RDRO"}


def draw(table):
    figure, (left, right) = new(height=2.6, panels=2)
    for axes, column in ((left, "mean"), (right, "ratio")):
        for name, words in NAMES.items():
            mine = table[table.method == name].sort_values("size")
            band = (mine.low, mine.high) if column == "mean" else ()
            line(axes, name, mine["size"], mine[column], *band, label=words)
        mine = table[table.method == "raw DDRO"].sort_values("size")
        look = {"color": METHODS["DPO"][0], "marker": "v", "linestyle": ":", "label": "DDRO as it stands"}
        if column == "mean":
            points(axes, mine["size"], mine, **look)
        else:
            axes.plot(mine["size"], mine.ratio, **look)
    right.axhline(2, **BOUND, label="bound 1/t of the truth")
    left.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel=r"mean total variation to $p_+$")
    right.set(xscale="log", xlabel="comparisons n", ylabel=r"mean of $\max_y \pi / p_{\rm ref}$")
    left.set_title("distance")
    right.set_title("largest ratio")
    legend_below(figure, columns=5)
    return figure
