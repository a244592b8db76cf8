"""f-DPO and policy gradient end at one policy; policy gradient draws texts besides, which grow like log n.

(a) Value missed by policy gradient by texts drawn, means over samples; dotted: what the most pairs miss. (b)
Texts until it misses no more than n pairs; dashed: theory's largest slope, exact.
"""

from distalign.figures import DIVERGENCES, METHODS, legend_below, new

NAMES = ("reverse_kl", "forward_kl", "jensen_shannon")


def draw(table):
    figure, (curve, needed) = new(height=2.7, panels=2)
    for name in NAMES:
        mine = table[table.divergence == name]
        colour, marker, _ = METHODS[name]
        path = mine[mine.quantity == "excess"].sort_values("texts")
        curve.plot(
            path.texts, path["mean"], color=colour, marker=marker, markevery=5, label=DIVERGENCES[name]
        )
        ends = mine[mine.quantity == "needed"].sort_values("size")
        curve.axhline(ends.missed.iloc[-1], color=colour, linewidth=0.8, linestyle=":")
        needed.plot(ends["size"], ends.texts, color=colour, marker=marker, linestyle="none")
        texts_an_update = ends.texts.iloc[0] / ends["update"].iloc[0]
        steps = ends.predicted.fillna(0).cumsum()
        steepest = ends.texts.iloc[-1] + texts_an_update * (steps - steps.iloc[-1])
        needed.plot(ends["size"], steepest, color=colour, linewidth=0.8, linestyle="--")
    curve.set(yscale="log", xlabel="texts drawn", ylabel="value missed (logits)")
    needed.set(xscale="log", xlabel="labelled pairs n", ylabel="texts to match n pairs", ylim=(0, None))
    legend_below(figure, columns=3)
    return figure
