"""Under the logistic penalty the best policy lies on the rim of every ball; least squares stops inside.

(a) Norm and (b) value of the best policy in a ball; means with 99 % intervals over seeds. Dashed: exact limit
along the true direction.
"""

from distalign.figures import label_at, legend_below, new, points

PENALTIES = {"logistic": ("#CC79A7", "v"), "least squares": ("#009E73", "D")}


def draw(table):
    figure, (left, right) = new(height=2.7, panels=2)
    for penalty, (colour, marker) in PENALTIES.items():
        mine = table[(table.penalty == penalty) & (table.part == "ball")].sort_values("size")
        look = {"color": colour, "marker": marker, "linestyle": "-", "linewidth": 1.0}
        for axes, quantity in ((left, "norm"), (right, "value")):
            rows = mine[mine.quantity == quantity]
            points(axes, rows["size"], rows, **look, label=f"{penalty}: best policy in the ball")
    ray = table[
        (table.penalty == "logistic") & (table.part == "ray") & table["size"].between(1, 1000)
    ].sort_values("size")
    points(
        right,
        ray["size"],
        ray,
        color="black",
        marker="x",
        linestyle="-",
        linewidth=1.0,
        label="logistic: along the true direction",
    )
    limit = table.limit.iloc[0]
    right.axhline(limit, color="black", linewidth=0.8, linestyle="--")
    label_at(right, 1, limit, "limit of the true direction, exact", shift=(1, 3))
    radii = mine["size"].unique()
    left.plot(radii, radii, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)))
    label_at(left, radii[len(radii) // 2], radii[len(radii) // 2], "norm = radius", shift=(-6, 4))
    left.set(xscale="log", yscale="log", xlabel="radius of the ball", ylabel="norm of its best policy")
    right.set(xscale="log", xlabel="radius of the ball, or norm", ylabel="AOT value (nats, square nats)")
    left.set_title("its norm")
    right.set_title("its value")
    legend_below(figure, columns=3)
    return figure
