"""The more responses, the rarer a total order of majorities, and a response that beats all others.

(a) Share of random preferences with a cycle, and whose maximal lottery mixes. Markers: frequencies with 99 %
intervals; lines: exact laws. (b) Three responses, by the number of users with random rankings.
"""

from distalign.figures import BOUND, legend_below, new, points

LOOK = {
    ("cyclic", 0): ("#D55E00", "v", ":", "cycle, independent pairs"),
    ("mixed", 0): ("#0072B2", "o", "-", "lottery mixes, independent pairs"),
    ("cyclic", 1): ("#E69F00", "s", "", "cycle, random rankings"),
    ("mixed", 1): ("#56B4E9", "^", "--", "lottery mixes, random rankings"),
}


def draw(table):
    figure, (left, right) = new(panels=2, height=2.6)
    for (quantity, crowd), (colour, marker, style, words) in LOOK.items():
        mine = table[
            (table.quantity == quantity) & ((table.correlation > 0) if crowd else (table.correlation == 0))
        ]
        points(
            left,
            mine.responses,
            mine,
            ("mean", "low", "high"),
            color=colour,
            marker=marker,
            linestyle="none",
            label=words,
        )
        left.plot(mine.responses, mine.predicted, color=colour, linestyle=style or "none")
    left.set(xlabel="responses m", ylabel="share of random preferences", ylim=(0, 1.03))
    left.set_xticks([3, 5, 10, 15, 20])
    crowds = table[(table.law == "users") & (table.quantity == "cyclic")]
    points(
        right,
        crowds.users,
        crowds,
        ("mean", "low", "high"),
        color="black",
        marker="s",
        linestyle="none",
        label="three responses, finite crowds",
    )
    right.plot(crowds.users, crowds.predicted, color="black", linewidth=0.8, linestyle=":")
    limit = table[(table.correlation > 0) & (table.responses == 3) & (table.quantity == "cyclic")]
    right.axhline(limit.predicted.iloc[0], **BOUND, label="infinite crowd")
    right.set(xlabel="users", ylabel="share with a cycle", xscale="log", ylim=(0, None))
    right.set_xticks(crowds.users, [str(n) for n in crowds.users])
    right.minorticks_off()
    legend_below(figure, columns=2)
    return figure
