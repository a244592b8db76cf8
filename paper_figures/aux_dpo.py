"""AuxDPO's reward does not depend on how often pairs are shown; in a class that holds the reward it costs.

(a) Expected reward less the reference's, means over random instances, by the share of discordant pairs over
DPO's threshold. (b) n times the variance of the parameter over DPO's; crosses: theory. Intervals 99 %.
"""

from distalign.figures import label_at, legend_below, new

STYLES = {
    "DPO": ("#D55E00", "v", ":"),
    "AuxDPO": ("#009E73", "s", "--"),
    "RLHF": ("#0072B2", "o", "-"),
}


def draw(table):
    figure, (gain, cost) = new(height=2.5, panels=2)
    share, samples = table[table.part == "share"], table[table.part == "samples"]
    least = samples[samples.method == "DPO"].set_index("responses").predicted
    for method, (colour, marker, line) in STYLES.items():
        mine = share[share.method == method].sort_values("multiple")
        gain.errorbar(
            mine.multiple,
            mine["mean"],
            yerr=[mine["mean"] - mine.low, mine.high - mine["mean"]],
            color=colour,
            marker=marker,
            linestyle=line,
            elinewidth=0.7,
            capsize=1.5,
            label=method,
        )
        mine = samples[samples.method == method].sort_values("responses")
        if not len(mine):
            continue
        unit = least.loc[mine.responses].to_numpy()
        cost.plot(mine.responses, mine.predicted / unit, color="black", marker="x", linestyle="")
        cost.errorbar(
            mine.responses,
            mine["mean"] / unit,
            yerr=[(mine["mean"] - mine.low) / unit, (mine.high - mine["mean"]) / unit],
            color=colour,
            marker=marker,
            markerfacecolor="none",
            linestyle="",
            capsize=1.5,
        )
    gain.axhline(0, color="0.4", linewidth=0.7)
    gain.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    label_at(gain, 1, share.high.max(), "DPO's\nthreshold", shift=(-34, -4))
    gain.set(xlabel="share of discordant pairs / threshold", ylabel="reward less the reference's")
    cost.set(xlabel="responses", ylabel="variance / DPO's", title="reward in the class")
    legend_below(figure, columns=3)
    return figure
