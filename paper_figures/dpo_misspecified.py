"""How often pairs are shown decides whether DPO gains or loses reward; RLHF does not notice.

Expected reward less the reference's, by the share of pairs on which feature and reward disagree, in units of
the predicted threshold. Lines: means over random instances; bands: their whole range.
"""

from distalign.figures import label_at, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.6)
    mine = table[table.part == "share"].sort_values("multiple")
    axes.plot(mine.multiple, mine["mean"], color="#D55E00", marker="v", linestyle=":", label="DPO")
    axes.fill_between(mine.multiple, mine.low, mine.high, color="#D55E00", alpha=0.2, linewidth=0)
    axes.plot(mine.multiple, mine.rlhf_mean, color="#0072B2", marker="o", label="RLHF in the same class")
    axes.fill_between(mine.multiple, mine.rlhf_low, mine.rlhf_high, color="#0072B2", alpha=0.1, linewidth=0)
    axes.axhline(0, color="0.4", linewidth=0.7)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label_at(axes, 1, mine.rlhf_mean.max(), "predicted\nthreshold", shift=(3, 4))
    axes.set(xlabel="share of discordant pairs / threshold", ylabel="reward less the reference's")
    legend_below(figure, columns=2)
    return figure
