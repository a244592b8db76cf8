"""Entropy above DPO's: at the same expected reward, and at the same beta."""

from distalign.figures import DIVERGENCES, line, new


def draw(table):
    figure, panels = new(panels=2, height=2.7)
    uniform = table[table.reference == "uniform"]
    for axes, matched in zip(panels, ("reward", "beta"), strict=True):
        for name in ("alpha:0.3", "jensen_shannon", "forward_kl"):
            mine = uniform[(uniform.matched == matched) & (uniform.divergence == name)]
            line(axes, name, mine.setting, mine["mean"], mine.low, mine.high, label=DIVERGENCES[name])
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":", label=DIVERGENCES["reverse_kl"])
        axes.set(
            ylabel="entropy minus DPO's (nats)", title=f"uniform reference, compared at the same {matched}"
        )
    panels[0].set(xlabel="share of the attainable gain in reward")
    panels[1].set(xscale="log", xlabel=r"$\beta$ (units of reward; its standard deviation is 1)")
    panels[1].set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
    panels[1].minorticks_off()
    for axes in panels:
        axes.legend()
    return figure
