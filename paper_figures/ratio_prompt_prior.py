"""Limits against how much the prior varies between prompts, and total variation to p+ against n."""

from distalign.figures import guide, line, new


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
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
    right.plot(mine["size"], mine["mean"], **style, label=r"RDRO, $\alpha(x)$")
    guide(right, mine["size"], 0.6 * mine["mean"].iloc[0], -0.5, "slope $-1/2$")
    left.set(xlabel="standard deviation of $t(x)$ over prompts", ylabel=r"limit of total variation to $p_+$")
    right.set(
        xscale="log",
        yscale="log",
        xlabel="labelled responses n, all prompts",
        ylabel=r"mean total variation to $p_+$",
    )
    left.legend()
    right.legend()
    return figure
