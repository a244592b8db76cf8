"""How far preferences must move before DPO loses to the reference, and that shrinking helps as KLDPO does.

(a) Largest loss in a ball over the loss at training, norm 2.5, with 99 % intervals over populations. (b)
Break-even radius in units of DPO's, with 99 % intervals; dotted: (2 - c)^2, exact for weak preferences.
"""

from distalign.figures import legend_below, new, points

BALLS = (("KL", "#0072B2", "o"), ("W1 finite", "#D55E00", "v"))
POLICIES = (("KLDPO", "-", "KLDPO, as shrunk DPO"), ("hardly trained", "--", "DPO times 1/100"))


def draw(table):
    figure, (left, right) = new(panels=2, height=2.8)
    losses, radii = table[table.part == "losses"], table[table.part == "radii"]
    for kind, colour, marker in BALLS:
        for policy, filled in (("DPO", colour), ("KLDPO", "white")):
            mine = losses[(losses.ball == kind) & (losses.policy == policy)].sort_values("share")
            label = f"{policy}, {kind} ball"
            points(left, mine.share, mine, color=colour, marker=marker, label=label, markerfacecolor=filled)
        for policy, style, name in POLICIES:
            mine = radii[(radii.ball == kind) & (radii.policy == policy)].sort_values("norm")
            label = f"{name}, {kind} ball"
            points(right, mine.norm, mine, color=colour, marker=marker, label="_")
            look = {"color": colour, "marker": marker, "linewidth": 0.8, "linestyle": style}
            right.plot(mine.norm, mine["mean"], label=label, **look)
    for factor in (0.5, 0.01):
        right.axhline((2 - factor) ** 2, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="radius over the collapse radius", ylabel="worst loss over loss at training")
    right.set(xlabel="norm of the reward", ylabel="break-even radius over DPO's")
    right.set_ylim(1, None)
    legend_below(figure, columns=2)
    return figure
