"""Training fails beyond a step that shrinks with overlap for DDRO and not for RDRO.

(a, b) Failed runs by learning rate over RDRO's largest stable step, 20 responses; vertical: DDRO's. (c)
Samples whose fit of DDRO has an infinite ratio, by the predicted share. Wilson intervals, 99 %.
"""

import numpy as np

from distalign.figures import METHODS, legend_below, new

STYLES = {  # colour of a method, line, marker
    "SFT": ("SFT", "-.", "^"),
    "RDRO": ("RDRO", "-", "o"),
    "DDRO as it stands": ("DDRO", "--", "s"),
    "DDRO, floor": ("DPO", "--", "v"),
    "DDRO, linear in the ratio": ("reference", "--", "x"),
    "DDRO, linear in its logarithm": ("reference", ":", "<"),
    "DDRO, squashed": ("KLDPO", "-", "P"),
}


def draw(table):
    figure, (few, many, shares) = new(height=2.7, panels=3)
    training = table[table.part == "training"]
    k = 20
    for axes, sup in ((few, training.sup.min()), (many, training.sup.max())):
        here = training[(training.sup == sup) & (training.responses == k)]
        for name, (style, dashes, marker) in STYLES.items():
            mine = here[here.method == name].sort_values("multiple")
            axes.errorbar(
                mine.multiple,
                mine.share,
                yerr=np.clip([mine.share - mine.low, mine.high - mine.share], 0, None),
                color=METHODS[style][0],
                linestyle=dashes,
                marker=marker,
                elinewidth=0.7,
                capsize=1.5,
                label=name if axes is few else None,
            )
        axes.axvline(
            here[here.method == "DDRO as it stands"].limit.iloc[0], color="0.4", linewidth=0.8, linestyle=":"
        )
        axes.set(
            xscale="log",
            xlabel="step / RDRO's largest",
            ylabel="share of failed runs",
            title=rf"$p_+/p_- \leq {sup:g}$",
        )
    fits = table[(table.part == "samples") & (table.method == "DDRO as it stands")]
    shares.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    for count, marker in zip(sorted(fits.responses.unique()), "osD", strict=False):
        mine = fits[fits.responses == count]
        shares.errorbar(
            mine.predicted,
            mine.share,
            yerr=np.clip([mine.share - mine.low, mine.high - mine.share], 0, None),
            color=METHODS["DDRO"][0],
            marker=marker,
            linestyle="",
            markerfacecolor="white" if marker == "D" else None,
            elinewidth=0.7,
            capsize=1.5,
        )
    shares.set(xlabel="predicted share", ylabel="share of samples", title=r"infinite $p_+/p_-$")
    legend_below(figure, columns=4)
    return figure
