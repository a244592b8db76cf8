"""All Bregman losses have DPO's target; those that weigh sure pairs more need more comparisons.

n times mean KL divergence from the target over DPO's constant, by the spread of the rewards. Lines: theory;
marks: samples of a million comparisons, intervals 99 %.
"""

from distalign.figures import legend_below, new

STYLES = {
    "DPO": ("#D55E00", "v", ":"),
    "SBA, -0.5": ("#56B4E9", "s", "--"),
    "KLIEP": ("#009E73", "D", "-."),
    "SBA, 0.5": ("#0072B2", "o", "-"),
    "LSIF": ("#000000", "^", "--"),
}


def draw(table):
    figure, (axes,) = new(height=2.7)
    least = table[table.method == "DPO"].set_index("spread").predicted
    for method, (colour, marker, line) in STYLES.items():
        mine = table[table.method == method].sort_values("spread")
        unit = least.loc[mine.spread].to_numpy()
        axes.plot(mine.spread, mine.predicted / unit, color=colour, linestyle=line)
        axes.errorbar(
            mine.spread,
            mine["mean"] / unit,
            yerr=[(mine["mean"] - mine.low) / unit, (mine.high - mine["mean"]) / unit],
            color=colour,
            marker=marker,
            linestyle="",
            elinewidth=0.8,
            capsize=1.5,
            label=method,
        )
    axes.set(yscale="log", xlabel="standard deviation of the rewards", ylabel="n KL / DPO's constant")
    legend_below(figure, columns=3)
    return figure
