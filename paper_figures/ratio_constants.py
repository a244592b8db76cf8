"""Measured over predicted distances against n.

Beside them the constants as the ratio of p+ to the reference nears its bound.
"""

from distalign.figures import line, new


def draw(table):
    figure, (left, right) = new(width=3.0, height=2.8, panels=2)
    labels = table[table.design == "labels"]
    for name in ("SFT", "DDRO", "RDRO"):
        mine = labels[labels.estimator == name].sort_values("size")
        line(left, name, mine["size"], mine.kl / mine.predicted_kl, label=f"{name}, KL")
        left.plot(
            mine["size"],
            mine.tv / mine.predicted_tv,
            color="0.6",
            linewidth=0.8,
            label="total variation, all three" if name == "RDRO" else None,
        )
        curve = table[(table.design == "curve") & (table.estimator == name)].sort_values("edge")
        line(right, name, curve.edge, curve.predicted_kl)
    left.axhspan(0.95, 1.05, color="0.9", zorder=0, label="within 5 %")
    left.set(
        xscale="log",
        xlabel="labelled responses n",
        ylabel="measured / predicted",
        title="12 responses, labels",
    )
    right.set(
        xlabel=r"$\max_y\, t\, p_+ / p_{\rm ref}$ (bound 1)",
        ylabel=r"limit of $n\,E\,\mathrm{KL}(p_+\|\pi_n)$",
        title="200 responses, 6 parameters, $t = 1/2$",
        ylim=(0, None),
    )
    for axes in (left, right):
        axes.legend()
    return figure
