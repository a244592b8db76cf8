"""A model trained by f-DPO pays above the KL frontier as theory says; only the reverse KL pays nothing.

(a) KL beyond the least for the reward reached, means with 99 % intervals over seeds; open: exact prediction.
(b) Mean reward and entropy reached.
"""

from distalign.figures import DIVERGENCES, METHODS, legend_below, new

ORDER = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    for place, name in enumerate(ORDER):
        colour, marker, _ = METHODS[name]
        for world, shift, face in (("predicted", -0.12, "white"), ("language model", 0.12, colour)):
            mine = table[(table.divergence == name) & (table.world == world)].sort_values("share")
            style = {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "none"}
            interval = [(mine["mean"] - mine.low).clip(0), (mine.high - mine["mean"]).clip(0)]
            left.errorbar(
                [place + shift] * len(mine), mine["mean"], yerr=interval, elinewidth=0.8, capsize=1.5, **style
            )
            right.plot(
                mine.reached, mine.entropy, label=DIVERGENCES[name] if face == colour else "_", **style
            )
    left.axhline(0, color="black", linewidth=0.6)
    left.set(
        xlabel="divergence",
        ylabel="KL above the least for\nthe reward reached (nats)",
        xticks=range(len(ORDER)),
        xticklabels=[DIVERGENCES[name].replace(" (DPO)", "") for name in ORDER],
    )
    left.tick_params(axis="x", labelsize=6.5)
    right.set(xlabel="share of the attainable gain in reward", ylabel="entropy, nats")
    left.set_title("price above the frontier")
    right.set_title("reward and entropy")
    legend_below(figure, columns=4)
    return figure
