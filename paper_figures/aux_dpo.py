"""AuxDPO's reward does not depend on how often pairs are shown; in a class that holds the reward it costs.

(a) Expected reward less the reference's, by the share of discordant pairs over DPO's threshold; lines: means
over instances, bands: their range. (b) n times the variance of the parameter over DPO's; crosses: theory,
marks: samples, intervals 99 %.
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
        gain.plot(mine.multiple, mine["mean"], color=colour, marker=marker, linestyle=line, label=method)
        if method != "RLHF":
            gain.fill_between(mine.multiple, mine.low, mine.high, color=colour, alpha=0.15, linewidth=0)
        mine = samples[samples.method == method].sort_values("responses")
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
    label_at(gain, 1, share["mean"].max(), "DPO's\nthreshold", shift=(-30, 0))
    gain.set(xlabel="share of discordant pairs / threshold", ylabel="reward less the reference's")
    cost.set(xlabel="responses", ylabel="variance / DPO's", title="reward in the class")
    legend_below(figure, columns=3)
    return figure
