"""A loud minority drives a model trained by DPO past the bound C(b); NLHF stays near 1.

Distortion against the best law in one KL ball, means with 99 % intervals over populations; open: the exact
policies.
"""

from distalign.figures import BOUND, METHODS, label_at, legend_below, new

PLACES = (("diverse", "DPO"), ("diverse", "NLHF"), ("loud minority", "DPO"), ("loud minority", "NLHF"))


def draw(table):
    figure, (axes,) = new(height=2.7)
    bound = table["bound"].iloc[0]
    axes.axhline(bound, **BOUND)
    label_at(axes, 0, bound, "C(b), the bound on NLHF", shift=(0.1, 3))
    for world, shift, face in (("language model", -0.12, None), ("simulated", 0.12, "white")):
        for method in ("DPO", "NLHF"):
            colour, marker, _ = METHODS[method]
            mine = table[(table.world == world) & (table.method == method)].set_index("population")
            mine = mine.loc[[p for p in ("diverse", "loud minority") if p in mine.index]]
            x = [PLACES.index((population, method)) + shift for population in mine.index]
            axes.errorbar(
                x,
                mine["mean"],
                yerr=[(mine["mean"] - mine.low).clip(0), (mine.high - mine["mean"]).clip(0)],
                color=colour,
                marker=marker,
                markerfacecolor=face or colour,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                label=f"{method}: {'language model' if face is None else 'exact'}",
            )
    axes.set(
        xlabel="method and population",
        ylabel="distortion against one KL ball",
        xlim=(-0.5, 3.5),
        xticks=range(4),
        xticklabels=[f"{method}\n{population.replace(' ', chr(10))}" for population, method in PLACES],
    )
    legend_below(figure, columns=2)
    return figure
