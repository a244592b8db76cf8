"""With correlated pairs RLHF's distortion grows without bound in the number of alternatives; NLHF's does not.

Exact distortions on the chain for two temperatures b; open: b = 2; dotted: the asymptote.
"""

from distalign.figures import BOUND, METHODS, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.6)
    present = sorted(table["bt_temperature"].unique())
    shown = [b for b in (2, 10) if b in present] or present
    for b, face in zip(shown, ("white", None), strict=False):
        mine = table[table["bt_temperature"] == b]
        for method, column in (("RLHF", "rlhf"), ("NLHF", "nlhf")):
            colour, marker, _ = METHODS[method]
            axes.plot(
                mine["alternatives"],
                mine[column],
                color=colour,
                marker=marker,
                linestyle="none",
                markerfacecolor=face or colour,
                label=f"{method}, b = {b:g}",
            )
        axes.plot(
            mine["alternatives"],
            mine["law"],
            color="0.4",
            linewidth=0.8,
            linestyle=":",
            label=r"$b\sqrt{m}/(3\sqrt{6})$" if b == shown[0] else None,
        )
        axes.plot(
            mine["alternatives"], mine["bound"], **BOUND, label="C, bound on NLHF" if b == shown[0] else None
        )
    axes.set(
        xscale="log", yscale="log", xlabel="number m of alternatives", ylabel="distortion", ylim=(0.8, None)
    )
    legend_below(figure, columns=3)
    return figure
