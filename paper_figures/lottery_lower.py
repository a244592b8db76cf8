"""With enough alternatives the maximal lottery loses C, which no rule can beat.

Exact distortion on the universal family over C, against the number m of alternatives, for several
temperatures b.
"""

from distalign.figures import BOUND, label_at, legend_below, new

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
    axes.axhline(1, **BOUND)
    label_at(axes, strict.alternatives.min(), 1, "C, which no rule beats", shift=(1, 2))
    axes.set(xscale="log", xlabel="number m of alternatives", ylabel="distortion / C(b)", ylim=(None, 1.15))
    legend_below(figure, columns=4)
    return figure
