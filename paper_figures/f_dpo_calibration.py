"""Change of three calibration errors against the bound, and along training."""

from distalign.figures import BOUND, DIVERGENCES, line, new

TRAINED = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")


def draw(table):
    figure, (bound, path) = new(panels=2, height=2.9)
    shown = (
        ("change", "o", "#0072B2", r"$E|\pi - p^*|_1$ (bounded)"),
        ("top_label", "^", "#D55E00", "binned, top label"),
        ("pairs", "x", "#777777", "binned, authors' code"),
    )
    for column, marker, colour, label in shown:
        kept = table[(table.limit > 0) & (table[column] > 0)]
        bound.plot(
            kept.limit, kept[column], marker, color=colour, markersize=3, markerfacecolor="none", label=label
        )
    ends = [table.limit.min() / 2, 2]
    bound.plot(ends, ends, **BOUND, label="bound")
    bound.set(
        xscale="log",
        yscale="log",
        xlabel=r"bound $2\sqrt{E\,D_f\,/\,2f''(1)}$ (group means)",
        ylabel="mean change of calibration error",
    )
    bound.legend(fontsize=6)
    for name in TRAINED:
        mine = table[(table.how == "training") & (table.divergence == name)]
        line(path, name, mine.step, mine.change, label=DIVERGENCES[name])
        path.plot(
            mine.step, mine.limit, color=path.lines[-1].get_color(), linewidth=0.8, linestyle=(0, (4, 2))
        )
    path.plot([], [], **BOUND, label="its bound")
    path.set(
        xlabel="steps from a calibrated reference",
        ylabel=r"calibration error $E|\pi - p^*|_1$",
        ylim=(0, None),
    )
    path.legend(fontsize=6)
    return figure
