"""The constants of the bounds grow with the largest ratio of p+ to p-; the errors do not follow them.

(a) Exact constants before the root of the excess risk. (b) Mean total variation to p+ on samples with 99 %
intervals over seeds.
"""

from distalign.figures import METHODS, legend_below, line, new, points


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    constants = {
        "bound DDRO": ("DDRO", "DDRO, through $p_+/p_-$"),
        "bound RDRO": ("RDRO", "RDRO, through $p_+/p_{\\rm ref}$"),
        "bound label likelihood": ("AOT", "DDRO, Pinsker on labels"),
    }
    for name, (style, words) in constants.items():
        mine = table[table.method == name].sort_values("sup")
        if style == "AOT":
            left.plot(mine["sup"], mine.constant, color="#56B4E9", marker="D", linestyle="-", label=words)
        else:
            line(left, style, mine["sup"], mine.constant, label=words)
    for name, words in (("SFT", "SFT on the chosen"), ("DDRO", "DDRO, domain enforced"), ("RDRO", "RDRO")):
        mine = table[table.method == name].sort_values("sup")
        line(right, name, mine["sup"], mine["mean"], mine.low, mine.high, label=words)
    mine = table[table.method == "raw DDRO"].sort_values("sup")
    points(
        right,
        mine["sup"],
        mine,
        color=METHODS["DPO"][0],
        marker="v",
        linestyle=":",
        label="DDRO as it stands",
    )
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\sup\, p_+ / p_-$",
        ylabel=r"constant before $\sqrt{\mathrm{excess\ risk}}$",
    )
    right.set(
        xscale="log", yscale="log", xlabel=r"$\sup\, p_+ / p_-$", ylabel=r"mean total variation to $p_+$"
    )
    left.set_title("constants of the bounds")
    right.set_title("errors on samples")
    legend_below(left)
    legend_below(right)
    return figure
