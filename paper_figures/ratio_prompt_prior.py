"""If the share of chosen responses varies between prompts, one alpha for all stops beside the preferred law.

(a) Exact limits against the spread of t(x), dashed: first order. (b) Mean total variation to p+ on samples
with 99 % intervals over seeds; each prompt's own alpha repairs it.
"""

from distalign.figures import guide, label_at, legend_below, line, new, points


def draw(table):
    figure, (left, right) = new(height=2.6, panels=2)
    limits, drawn = table[table["size"] == 0], table[table["size"] > 0]
    for name, words in (
        ("SFT", "SFT on the chosen"),
        ("DDRO", "DDRO, one prior"),
        ("RDRO", r"RDRO, one $\alpha$"),
    ):
        mine = limits[limits.method == name].sort_values("varies")
        line(left, name, mine.varies, mine["mean"], label=words)
        if name != "SFT":
            left.plot(
                mine.varies,
                mine.predicted,
                color="0.5",
                linewidth=0.8,
                linestyle=(0, (4, 2)),
                label="first order" if name == "RDRO" else None,
            )
        mine = drawn[drawn.method == name].sort_values("size")
        if len(mine):
            line(right, name, mine["size"], mine["mean"], mine.low, mine.high, label=words)
    own = table[table.method == "RDRO, each prompt its own alpha"].sort_values("size")
    style = {"color": "#009E73", "marker": "D", "linestyle": "-"}
    mine = own[own["size"] == 0].sort_values("varies")
    left.plot(mine.varies, mine["mean"], **style, label=r"RDRO, $\alpha(x)$", markersize=2)
    mine = own[own["size"] > 0]
    points(right, mine["size"], mine, **style, label=r"RDRO, $\alpha(x)$")
    first, start = mine["size"].iloc[0], 0.6 * mine["mean"].iloc[0]
    guide(right, mine["size"], start, -0.5, "_")
    label_at(right, first, start, "slope $-1/2$", shift=(1, -6))
    left.set(xlabel="standard deviation of $t(x)$ over prompts", ylabel=r"limit of total variation to $p_+$")
    right.set(
        xscale="log",
        yscale="log",
        xlabel="labelled responses n, all prompts",
        ylabel=r"mean total variation to $p_+$",
    )
    left.set_title("limits")
    right.set_title("samples")
    legend_below(figure, columns=5)
    return figure
