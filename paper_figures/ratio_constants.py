"""Distances are the predicted constants over n; near its bound DDRO's constant falls below RDRO's.

(a) Mean distance over its prediction for 12 responses; the table has no intervals. (b) Exact constant of KL
against the largest ratio, 200 responses and 6 parameters, t = 1/2.
"""

from distalign.figures import label_at, legend_below, line, new


def draw(table):
    figure, (left, right) = new(height=2.6, panels=2)
    labels = table[table.design == "labels"]
    for name in ("SFT", "DDRO", "RDRO"):
        mine = labels[labels.estimator == name].sort_values("size")
        line(left, name, mine["size"], mine.kl / mine.predicted_kl, label=name)
        left.plot(
            mine["size"],
            mine.tv / mine.predicted_tv,
            color="0.6",
            linewidth=0.8,
            label="total variation, all three" if name == "RDRO" else None,
        )
        curve = table[(table.design == "curve") & (table.estimator == name)].sort_values("edge")
        line(right, name, curve.edge, curve.predicted_kl)
    left.axhspan(0.95, 1.05, color="0.9", zorder=0)
    label_at(left, labels["size"].max(), 1.05, "within 5 %", shift=(-1, -3))
    left.set(
        xscale="log",
        xlabel="labelled responses n",
        ylabel="measured / predicted",
        title="measured constants",
    )
    right.set(
        xlabel=r"$\max_y\, t\, p_+ / p_{\rm ref}$ (bound 1)",
        ylabel=r"limit of $n\,E\,\mathrm{KL}(p_+\|\pi_n)$",
        title="predicted constants",
        ylim=(0, None),
    )
    legend_below(figure, columns=4)
    return figure
