"""Total variation to p+ on few pairs, and the largest ratio to the reference.

The truth keeps that ratio below 1/t.
"""

from distalign.figures import BOUND, METHODS, line, new

NAMES = {"SFT": "SFT on the chosen", "DDRO": "DDRO, domain enforced", "RDRO": "RDRO"}


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
    for axes, column in ((left, "mean"), (right, "ratio")):
        for name, words in NAMES.items():
            mine = table[table.method == name].sort_values("size")
            band = (mine.low, mine.high) if column == "mean" else ()
            line(axes, name, mine["size"], mine[column], *band, label=words)
        mine = table[table.method == "raw DDRO"].sort_values("size")
        axes.plot(
            mine["size"],
            mine[column],
            color=METHODS["DPO"][0],
            marker="v",
            linestyle=":",
            label="DDRO as it stands",
        )
    right.axhline(2, **BOUND, label="bound 1/t of the truth")
    left.set(xscale="log", yscale="log", xlabel="comparisons n", ylabel=r"mean total variation to $p_+$")
    right.set(xscale="log", xlabel="comparisons n", ylabel=r"mean of $\max_y \pi / p_{\rm ref}$")
    left.legend()
    right.legend()
    return figure
