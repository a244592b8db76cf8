"""Regret of the summed link against beta, in the problem of whole responses and in the token-level one."""

from distalign.figures import DIVERGENCES, line, new


def draw(table):
    figure, panels = new(panels=2, height=2.6)
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
        axes.legend(fontsize=6)
    return figure
