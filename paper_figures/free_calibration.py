"""Two calibration errors of trained writers against the strength, and what draws predicted.

Bars: 99 % intervals over seeds and prompts.
"""

from distalign.figures import DIVERGENCES, METHODS, legend_below, line, new


def draw(table):
    figure, (authors, pairs) = new(panels=2, height=2.9)
    for name in ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl"):
        mine = table[table.divergence == name].sort_values("beta")
        if mine.empty:
            continue
        line(authors, name, mine.beta, mine["mean"], mine.low, mine.high, label=DIVERGENCES[name])
        authors.plot(mine.beta, mine.predicted, color=METHODS[name][0], linewidth=0.8, linestyle=(0, (4, 2)))
        line(pairs, name, mine.beta, mine.preferences, label=DIVERGENCES[name])
    authors.axhline(table.untrained.mean(), color="0.5", linewidth=0.8, label="reference")
    authors.plot([], [], color="0.3", linewidth=0.8, linestyle=(0, (4, 2)), label="predicted")
    authors.set(xlabel=r"strength $\beta f''(1)$", ylabel="calibration error, authors' code")
    pairs.axhline(0, color="black", linewidth=0.6)
    pairs.set(xlabel=r"strength $\beta f''(1)$", ylabel="calibration error of implied preferences")
    legend_below(figure, 3)
    return figure
