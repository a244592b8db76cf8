"""Error of predictions and of both roads beside exact values, against the number of draws, on a model that
can be enumerated.
"""

from distalign.figures import BOUND, legend_below, new

SHOWN = (
    ("prediction", "RLHF: reward", "o", "#0072B2"),
    ("prediction", "NLHF: KL", "s", "#56B4E9"),
    ("prediction", "DPO without Bradley-Terry: reward", "^", "#D55E00"),
    ("reweighted", "KL", "D", "#009E73"),
    ("reweighted", "KL to the target", "P", "#CC79A7"),
    ("fresh", "KL", "x", "#000000"),
)


def draw(table):
    figure, (error, bias) = new(panels=2, height=3.1)
    for road, name, marker, colour in SHOWN:
        mine = table[(table.road == road) & (table["name"] == name)].sort_values("size")
        label = name if road == "prediction" else f"{road} road: {name}"
        style = {"color": colour, "marker": marker, "markersize": 3.5, "label": label}
        error.plot(mine["size"], mine.error, **style)
        bias.plot(mine["size"], mine.bias, **style)
    sizes = sorted(table.loc[table.road == "prediction", "size"].unique())
    first = table[(table.road == "prediction") & (table["size"] == sizes[0])].error.max()
    line = [1.5 * first * (n / sizes[0]) ** -0.5 for n in sizes]
    error.plot(sizes, line, **BOUND, label=r"slope $-1/2$")
    bias.axhline(0, color="black", linewidth=0.6)
    for axes in (error, bias):
        axes.set(xscale="log", xlabel="draws of each prompt N")
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
    error.set(yscale="log", ylabel="root mean square error\n(units of reward, or nats)")
    bias.set(ylabel="mean error")
    legend_below(figure, 4)
    return figure
