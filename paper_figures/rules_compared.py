"""Seven rules compared.

Utility of the average and of the worst-off user on random populations, and distortion on four families.
"""

from matplotlib.ticker import NullFormatter

from distalign.figures import BOUND, METHODS, new
from distalign.theory.distortion.constants import minimax_distortion

LOOK = {
    **{rule: METHODS[rule] for rule in ("Borda", "maximal lottery", "RLHF", "NLHF")},
    "Copeland": ("#009E73", "P", "--"),
    "plurality": ("#CC79A7", "^", "-."),
    "random dictator": ("#000000", "x", ":"),
}
WORDS = {"RLHF": "RLHF, 0.5 nats", "NLHF": "NLHF, 0.5 nats"}
CROWDS = {"unstructured": "unstruc-\ntured", "two camps": "two\ncamps", "ideal points": "ideal\npoints"}


def draw(table):
    figure, axes = new(width=2.6, height=2.9, panels=3)
    temperature = sorted(table["bt_temperature"].unique())[table["bt_temperature"].nunique() // 2]
    for panel, measure in zip(axes[:2], ("average_utility", "worst_off"), strict=True):
        for offset, (rule, (colour, marker, _)) in enumerate(LOOK.items()):
            rows = table[
                (table["rule"] == rule)
                & (table["measure"] == measure)
                & (table["bt_temperature"] == temperature)
            ]
            rows = rows.set_index("population").loc[list(CROWDS)]
            place = [i + 0.1 * (offset - 3) for i in range(len(CROWDS))]
            panel.errorbar(
                place,
                rows["mean"],
                yerr=[rows["mean"] - rows["low"], rows["high"] - rows["mean"]],
                fmt=marker,
                color=colour,
                elinewidth=0.8,
                label=WORDS.get(rule, rule),
            )
        panel.set(
            xticks=range(len(CROWDS)),
            xticklabels=list(CROWDS.values()),
            xlabel=f"population, b = {temperature:g}",
        )
    axes[0].set_ylabel("utility, average over users")
    axes[1].set_ylabel("utility, worst-off type of user")
    second = table[table["population"].str.startswith("common second") & (table["measure"] == "distortion")]
    second = second.assign(size=second["population"].str.split().str[-1].astype(int))
    highest = second["bt_temperature"].max()
    for rule, (colour, marker, style) in LOOK.items():
        rows = second[(second["rule"] == rule) & (second["bt_temperature"] == highest)].sort_values("size")
        axes[2].plot(rows["size"], rows["mean"], color=colour, marker=marker, linestyle=style)
    axes[2].axhline(float(minimax_distortion(highest)), **BOUND, label="C, best of any rule")
    axes[2].set(
        xscale="log",
        yscale="log",
        xlabel=f"alternatives m, b = {highest:g}",
        ylabel="distortion, common second choice",
    )
    sizes = sorted(second["size"].unique())
    axes[2].set_xticks(sizes, [str(m) for m in sizes])
    axes[2].xaxis.set_minor_formatter(NullFormatter())
    axes[2].legend(fontsize=6, loc="upper left")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=6.5, ncols=7, loc="outside upper center")
    return figure
