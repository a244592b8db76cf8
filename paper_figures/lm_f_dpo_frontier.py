"""What each divergence pays above the KL frontier, and the reward and entropy it reaches.

A language model stands beside theory.
"""

from distalign.figures import DIVERGENCES, METHODS, new

ORDER = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")


def draw(table):
    figure, (left, right) = new(height=3.4, panels=2)
    for place, name in enumerate(ORDER):
        colour, marker, _ = METHODS[name]
        for world, shift, face in (("predicted", -0.12, "white"), ("language model", 0.12, colour)):
            mine = table[(table.divergence == name) & (table.world == world)].sort_values("share")
            style = {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "none"}
            interval = [(mine["mean"] - mine.low).clip(0), (mine.high - mine["mean"]).clip(0)]
            left.errorbar(
                [place + shift] * len(mine), mine["mean"], yerr=interval, elinewidth=0.8, capsize=1.5, **style
            )
            right.plot(mine.reached, mine.entropy, label=f"{DIVERGENCES[name]}: {world}", **style)
    left.axhline(0, color="black", linewidth=0.6)
    left.set(
        xlabel="divergence",
        ylabel="KL to the reference above the least\nfor the reward reached, nats",
        xticks=range(len(ORDER)),
        xticklabels=[DIVERGENCES[name].replace(" (DPO)", "") for name in ORDER],
    )
    left.tick_params(axis="x", labelsize=6)
    right.set(xlabel="share of the attainable gain in reward", ylabel="entropy, nats")
    right.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, fontsize=6, columnspacing=1)
    return figure
