"""A wrong reference moves the limit of RDRO and DDRO by about its own error; SFT needs none.

(a) Limits, means over draws of the error with 99 % intervals. (b) Mean total variation to p+ on samples with
99 % intervals over seeds; a refitted reference repairs RDRO.
"""

from distalign.figures import guide, label_at, legend_below, line, new, points


def draw(table):
    figure, (left, right) = new(height=2.6, panels=2)
    limits, drawn = table[table["size"] == 0], table[table["size"] > 0]
    for name, words in (("SFT", "SFT on the chosen"), ("DDRO", "DDRO, domain enforced"), ("RDRO", "RDRO")):
        mine = limits[limits.method == name].sort_values("shift")
        line(left, name, mine["shift"], mine["mean"], mine.low, mine.high, label=words)
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
    points(
        right,
        mine["size"],
        mine,
        color="#009E73",
        marker="D",
        linestyle="-",
        label="RDRO, reference refitted",
    )
    first, start = mine["size"].iloc[0], 0.6 * mine["mean"].iloc[0]
    guide(right, mine["size"], start, -0.5, "_")
    label_at(right, first, start, "slope $-1/2$", shift=(1, -6))
    left.set(xlabel="total variation of reference to mixture", ylabel=r"limit of total variation to $p_+$")
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    left.set_title("limits")
    right.set_title("samples")
    legend_below(figure, columns=5)
    return figure
