"""Limits against how far the reference is from the mixture, and total variation to p+ against n."""

from distalign.figures import guide, line, new


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
    limits, drawn = table[table["size"] == 0], table[table["size"] > 0]
    for name, words in (("SFT", "SFT on the chosen"), ("DDRO", "DDRO, domain enforced"), ("RDRO", "RDRO")):
        mine = limits[limits.method == name].sort_values("shift")
        line(left, name, mine["shift"], mine["mean"], label=words)
        mine = drawn[drawn.method == name].sort_values("size")
        line(right, name, mine["size"], mine["mean"], mine.low, mine.high, label=words)
    mine = limits[limits.method == "RDRO"].sort_values("shift")
    left.plot(
        mine["shift"],
        mine.predicted,
        color="0.5",
        linewidth=0.8,
        linestyle=(0, (4, 2)),
        label="RDRO, first order",
    )
    mine = drawn[drawn.method == "RDRO, reference refitted"].sort_values("size")
    right.plot(
        mine["size"],
        mine["mean"],
        color="#009E73",
        marker="D",
        linestyle="-",
        label="RDRO, reference refitted",
    )
    guide(right, mine["size"], 0.6 * mine["mean"].iloc[0], -0.5, "slope $-1/2$")
    left.set(xlabel="total variation of reference to mixture", ylabel=r"limit of total variation to $p_+$")
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    left.legend()
    right.legend()
    return figure
