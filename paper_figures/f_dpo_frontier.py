"""No divergence buys diversity for free under a uniform reference.

Entropy above DPO's: (a) at the same expected reward none has more; (b) at the same beta the forward KL has,
by giving up reward. Markers: means over problems with 99 % intervals.
"""

from distalign.figures import DIVERGENCES, legend_below, line, new

TITLES = {"reward": "compared at the same reward", "beta": r"compared at the same $\beta$"}


def draw(table):
    figure, panels = new(panels=2, height=2.5)
    uniform = table[table.reference == "uniform"]
    for axes, (matched, title) in zip(panels, TITLES.items(), strict=True):
        for name in ("alpha:0.3", "jensen_shannon", "forward_kl"):
            mine = uniform[(uniform.matched == matched) & (uniform.divergence == name)]
            line(axes, name, mine.setting, mine["mean"], mine.low, mine.high, label=DIVERGENCES[name])
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":", label=DIVERGENCES["reverse_kl"])
        axes.set(ylabel="entropy minus DPO's (nats)", title=title)
    panels[0].set(xlabel="share of the attainable gain in reward")
    panels[1].set(xscale="log", xlabel=r"$\beta$ (units of reward; its standard deviation is 1)")
    panels[1].set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
    panels[1].minorticks_off()
    legend_below(figure, columns=4)
    return figure
