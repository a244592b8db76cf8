"""On a recurrent model class means bring RDRO nearer to the preferred law than one mean over examples, whose
own samples would be chosen as often.

(a) KL to p+, means with 99 % intervals over seeds. (b) Mean rate at which own samples are chosen.
"""

from distalign.figures import METHODS, legend_below, line, new, points

OTHERS = {
    "DDRO, floor": ("#E69F00", "P", "--", "DDRO, floor"),
    "RDRO, mean over examples": (METHODS["DPO"][0], "v", ":", "RDRO, one mean over examples"),
}
NAMES = {
    "SFT": ("SFT", "SFT on the chosen"),
    "DDRO, linear in log-ratio": ("DDRO", "DDRO, linear in log-ratio"),
    "RDRO": ("RDRO", "RDRO, class means"),
}
LINES = {
    "reference": ("0.5", ":", "the reference itself"),
    "p+": ("0.3", (0, (4, 2)), "$p_+$"),
    "limit of the mean over examples": (METHODS["DPO"][0], (0, (1, 1)), "limit of one mean over examples"),
}


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    for axes, column in ((left, "mean"), (right, "rate")):
        for name, (style, words) in NAMES.items():
            mine = table[table.method == name].sort_values("size")
            line(
                axes,
                style,
                mine["size"],
                mine[column],
                *((mine.low, mine.high) if column == "mean" else ()),
                label=words,
            )
        for name, (colour, marker, style, words) in OTHERS.items():
            mine = table[table.method == name].sort_values("size")
            look = {"color": colour, "marker": marker, "linestyle": style, "label": words}
            if column == "mean":
                points(axes, mine["size"], mine, **look)
            else:
                axes.plot(mine["size"], mine.rate, **look)
        for name, (colour, style, words) in LINES.items():
            mine = table[table.method == name].sort_values("size")
            if column == "rate" or name != "p+":
                axes.plot(
                    mine["size"], mine[column], color=colour, linewidth=0.9, linestyle=style, label=words
                )
        sizes = sorted(set(table["size"]))
        axes.set(xscale="log", xlabel="labelled sequences n")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.set_xticks([], minor=True)
    left.set(yscale="log", ylabel=r"$\mathrm{KL}(p_+\|\pi)$, nats, mean over seeds")
    left.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    left.set_yticks([], minor=True)
    right.set(ylabel="own samples: rate of being chosen")
    left.set_title("distance to the law")
    right.set_title("own samples, judged")
    legend_below(figure, columns=3)
    return figure
