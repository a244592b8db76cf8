"""Paired AOT loses about 1/n, and more where the reference is known.

(a) Mean excess of the trained policy with 99 % intervals; lines: limits. (b) The same against the bound
(ours; Theorem 3 has n^-1/2), and two pairs of policies that are hard to tell apart: on a ray (dotted: its
law) and on a coin.
"""

from distalign.figures import BOUND, guide, label_at, legend_below, new, points

SETTINGS = (
    ("least squares", "pairs", "#009E73", "D", "least squares"),
    ("least squares", "reference known", "#56B4E9", "P", "least squares, reference known"),
    ("squared hinge", "pairs", "#0072B2", "o", "squared hinge"),
    ("logistic", "pairs", "#CC79A7", "v", "logistic"),
)


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    for part, arm, colour, marker, name in SETTINGS:
        mine = table[(table.part == part) & (table.arm == arm)].sort_values("size")
        scaled = mine.assign(**{c: mine[c] * mine["size"] for c in ("mean", "low", "high", "predicted")})
        points(left, scaled["size"], scaled, color=colour, marker=marker, label=name)
        left.plot(scaled["size"], scaled.predicted, color=colour, linewidth=0.8)
    left.set(xscale="log", xlabel="pairs n", ylabel="n times the mean excess", title="trained policies")
    left.set_ylim(0, None)
    mine = table[(table.part == "logistic")].sort_values("size")
    points(right, mine["size"], mine, color="#CC79A7", marker="v", label="_")
    right.plot(mine["size"], mine.bound, **BOUND, label="explicit bound, logistic")
    mine = table[table.part == "two policies"].sort_values("size")
    points(right, mine["size"], mine, color="black", marker="s", label="two policies, least squares")
    right.plot(mine["size"], mine.predicted, color="black", linewidth=0.8, linestyle=":")
    mine = table[table.part == "coin"].sort_values("size")
    points(right, mine["size"], mine, color="#D55E00", marker="o", label="two policies on a coin")
    right.plot(mine["size"], mine.bound, color="#D55E00", linewidth=0.8, linestyle="--", label="its bound")
    sizes = table["size"]
    guide(right, sizes, 3e-4, -1, "_")
    label_at(right, sizes.min(), 3e-4, "slope $-1$", shift=(6, -8))
    right.set(xscale="log", yscale="log", xlabel="pairs n", ylabel="mean excess", title="against the bound")
    legend_below(figure, columns=3)
    return figure
