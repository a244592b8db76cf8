"""Constants of the bounds, and errors on samples, as the largest ratio of p+ to p- grows."""

from distalign.figures import METHODS, line, new


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
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
    right.plot(
        mine["sup"],
        mine["mean"],
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
    left.legend()
    right.legend()
    return figure
