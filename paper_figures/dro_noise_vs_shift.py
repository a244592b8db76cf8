"""Flipped labels and a moved reward ask for opposite tilts.

Clean loss minus DPO's, below 0 is better: (a) against label noise Dr. DPO wins and KLDPO loses, (b) against a
conflicting reward it is the other way round. Markers: means with 99 % intervals over seeds.
"""

from distalign.figures import METHODS, legend_below, new, points

SHOWN = (
    ("KLDPO", *METHODS["KLDPO"]),
    ("shrunk DPO", "#000000", "x", ":"),
    ("Dr. DPO", *METHODS["Dr. DPO"]),
    ("cDPO", "#56B4E9", "^", "-."),
    ("rDPO", "#0072B2", "v", ":"),
)


def draw(table):
    figure, (noise, shift) = new(height=2.6, panels=2)
    grounds = (
        (noise, "flip", table[table["shift"] == 0], "share of labels flipped in training", "label noise"),
        (shift, "shift", table[table.flip == 0], "share of a reward at 120 degrees", "moved reward"),
    )
    for axes, ground, rows, name, title in grounds:
        for method, colour, marker, style in SHOWN:
            mine = rows[rows.method == method].sort_values(ground)
            label = f"{method} (true rate)" if method == "rDPO" else method
            points(axes, mine[ground], mine, color=colour, marker=marker, linestyle=style, label=label)
        axes.axhline(0, color="black", linewidth=0.7)
        axes.set(xlabel=name, ylabel="clean loss minus DPO's (nats)", title=title)
    legend_below(figure, columns=5)
    return figure
