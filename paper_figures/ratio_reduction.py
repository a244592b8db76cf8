"""RDRO needs one mean for each class: one mean over all examples stops beside the preferred law unless t =
1/2.

(a) Exact limits against the share t of chosen responses. (b) Mean total variation to p+ on samples with 99 %
intervals over seeds; open: t = 0.5.
"""

from distalign.figures import METHODS, guide, label_at, legend_below, line, new, points

NAMES = {"class_mean": ("RDRO", "class means"), "batch_mean": ("DPO", "one mean over examples")}


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    limits = table[(table["size"] == 0) & table.limit.notna()].sort_values("prior")
    priors = sorted(table[table["size"] > 0].prior.unique())
    for reduction, (style, words) in NAMES.items():
        mine = limits[limits.method == reduction]
        line(left, style, mine.prior, mine.limit, label=words)
        for prior, face in zip(priors, (METHODS[style][0], "white"), strict=False):
            drawn = table[
                (table["size"] > 0) & (table.method == reduction) & (table.prior == prior)
            ].sort_values("size")
            colour, marker, dashes = METHODS[style]
            points(
                right,
                drawn["size"],
                drawn,
                color=colour,
                marker=marker,
                linestyle=dashes,
                markerfacecolor=face,
                label=f"{words}, $t={prior}$",
            )
    left.plot(
        limits.prior,
        limits.reference,
        color="0.5",
        linewidth=0.8,
        linestyle=":",
        label="the reference itself",
    )
    first, start = drawn["size"].iloc[0], 0.5 * drawn["mean"].iloc[0]
    guide(right, drawn["size"], start, -0.5, "_")
    label_at(right, first, start, "slope $-1/2$", shift=(1, -6))
    left.set(
        xlabel="share t of chosen responses", ylabel=r"limit of total variation to $p_+$", ylim=(-0.01, None)
    )
    right.set(
        xscale="log", yscale="log", xlabel="labelled responses n", ylabel=r"mean total variation to $p_+$"
    )
    left.set_title("limits")
    right.set_title("samples")
    legend_below(left)
    legend_below(right, columns=2)
    return figure
