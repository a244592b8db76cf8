"""Clipped RLHF loses a factor that grows with the mismatch B, and with b where there is none.

(a) Distortion against B, the largest log(mu/ref), on the mismatch family. (b) Comparisons from the reference,
users who agree: distortion against b, with and without the clip. Markers: exact solutions; dotted: closed
forms.
"""

from distalign.figures import legend_below, new

LOOK = ((5, "#0072B2", "o"), (10, "#009E73", "s"), (30, "#E69F00", "D"), (100, "#D55E00", "v"))


def draw(table):
    figure, (left, right) = new(panels=2, height=2.6)
    mismatch, none = table[table.family == "mismatch"], table[table.family == "none"]
    for b, colour, marker in LOOK:
        mine = mismatch[mismatch.bt_temperature == b]
        left.plot(
            mine.log_ratio, mine.clipped, color=colour, marker=marker, linestyle="none", label=f"b = {b}"
        )
        left.plot(mine.log_ratio, mine.predicted, color=colour, linewidth=0.8, linestyle=":")
    left.set(xscale="log", yscale="log", xlabel="mismatch B (nats)", ylabel="distortion")
    right.plot(
        none.bt_temperature, none.clipped, color="black", marker="o", linestyle="none", label="clipped, B = 0"
    )
    right.plot(none.bt_temperature, none.predicted, color="black", linewidth=0.8, linestyle=":")
    right.plot(
        none.bt_temperature, none.plain, color="0.4", marker="x", linestyle="none", label="plain, B = 0"
    )
    right.set(xscale="log", yscale="log", xlabel="Bradley-Terry temperature b", ylabel="distortion")
    legend_below(figure, columns=6)
    return figure
