"""Where class means and one mean over examples end, and total variation to p+ against n."""

from distalign.figures import guide, line, new

NAMES = {"class_mean": ("RDRO", "class means"), "batch_mean": ("DPO", "one mean over examples")}


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
    limits = table[(table["size"] == 0) & table.limit.notna()].sort_values("prior")
    for reduction, (style, words) in NAMES.items():
        mine = limits[limits.method == reduction]
        line(left, style, mine.prior, mine.limit, label=words)
        for prior, alpha in ((0.39, 1.0), (0.5, 0.4)):
            drawn = table[
                (table["size"] > 0) & (table.method == reduction) & (table.prior == prior)
            ].sort_values("size")
            before = len(right.lines)
            line(
                right,
                style,
                drawn["size"],
                drawn["mean"],
                drawn.low,
                drawn.high,
                label=f"{words}, $t={prior}$",
            )
            for artist in right.lines[before:]:
                artist.set_alpha(alpha)
    left.plot(
        limits.prior,
        limits.reference,
        color="0.5",
        linewidth=0.8,
        linestyle=":",
        label="the reference itself",
    )
    guide(right, drawn["size"], 0.5 * drawn["mean"].iloc[0], -0.5, "slope $-1/2$")
    left.set(
        xlabel="share t of chosen responses", ylabel=r"limit of total variation to $p_+$", ylim=(-0.01, None)
    )
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    left.legend()
    right.legend(fontsize=5.5)
    return figure
