"""Distortion of the maximal lottery on the universal family against m, as a share of C, for three
temperatures.
"""

from distalign.figures import BOUND, new

STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "D", "-."), ("#000000", "^", ":"))


def draw(table):
    figure, (axes,) = new()
    strict = table[table["family"] == "strict"]
    present = sorted(strict["bt_temperature"].unique())
    chosen = [b for b in (1, 5, 20, 50) if b in present] or present
    for b, (colour, marker, style) in zip(chosen, STYLES, strict=False):
        mine = strict[strict["bt_temperature"] == b]
        axes.plot(
            mine["alternatives"],
            mine["distortion"] / mine["bound"],
            color=colour,
            marker=marker,
            linestyle=style,
            label=f"b = {b:g}",
        )
    axes.axhline(1, **BOUND, label="C, which no rule beats")
    axes.set(xscale="log", xlabel="number m of alternatives", ylabel="distortion / C(b)")
    axes.legend(loc="lower right")
    return figure
