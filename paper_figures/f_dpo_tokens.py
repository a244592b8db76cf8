"""Summing token-level links is right for the reverse KL alone.

Mean regret of the summed link, in the problem of (a) whole responses and (b) tokens. Markers: means over
problems with 99 % intervals; DPO's is exactly 0.
"""

from distalign.figures import DIVERGENCES, legend_below, line, new


def draw(table):
    figure, panels = new(panels=2, height=2.7)
    betas = table.beta.unique()
    for axes, suffix, level in zip(panels, ("_regret", "_token_regret"), ("sequence", "token"), strict=True):
        for name in (n for n in DIVERGENCES if n in set(table.divergence) and n != "reverse_kl"):
            mine = table[table.divergence == name]
            line(
                axes,
                name,
                mine.beta,
                *(mine[column + suffix] for column in ("mean", "low", "high")),
                label=DIVERGENCES[name],
            )
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":", label=DIVERGENCES["reverse_kl"])
        axes.set(
            xscale="log",
            xlabel=r"$\beta$ (units of reward)",
            ylabel="mean regret (units of reward)",
            title=f"{level}-level problem",
        )
        axes.set_xticks(betas, [f"{beta:g}" for beta in betas], minor=False)
        axes.minorticks_off()
    legend_below(figure, columns=4)
    return figure
