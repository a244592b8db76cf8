"""Total variation to p+ of DPO with two references on independent draws of p+ and p-, beside SFT and RDRO."""

from distalign.figures import METHODS, guide, line, new

MIXTURE = {"mixture, beta 0.1": ("0.1", "v"), "mixture, beta 1": ("1", "<"), "mixture, beta 2": ("2", ">")}


def draw(table):
    figure, (axes,) = new(height=3.4)
    for name in ("SFT", "RDRO"):
        mine = table[table.method == name].sort_values("size")
        line(axes, name, mine["size"], mine["mean"], mine.low, mine.high)
    colour = METHODS["DPO"][0]
    mine = table[table.method == "p-, beta 1"].sort_values("size")
    axes.plot(
        mine["size"], mine["mean"], color=colour, marker="D", label=r"DPO, $\beta = 1$, reference $p_-$"
    )
    axes.plot(
        mine["size"],
        mine.predicted,
        color="0.4",
        linewidth=0.7,
        linestyle="--",
        label="its asymptotic constant",
    )
    for name, (beta, marker) in MIXTURE.items():
        mine = table[table.method == name].sort_values("size")
        axes.plot(
            mine["size"],
            mine["mean"],
            color=colour,
            marker=marker,
            linestyle=":",
            label=rf"DPO, $\beta = {beta}$, reference mixture",
        )
        axes.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    guide(axes, mine["size"], 0.02, -0.5, "slope $-1/2$")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="pairs of independent draws n",
        ylabel=r"mean total variation to $p_+$",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, fontsize=6, columnspacing=1)
    return figure
