"""A ball that holds the truth costs the rate n^-1/2 on R^d, but not on a finite space.

(a) Distance to theta* and, dotted, to the robust optimum of the same radius. (b) Slope of the tail for every
schedule; filled: holds the truth in 90 % of draws or more. Bars: 99 % intervals over seeds.
"""

from distalign.figures import guide, label_at, legend_below, new, points

BALLS = {
    "KL": ("#009E73", "o", "KL"),
    "W1 finite": ("#D55E00", "v", "$W_1$, finite"),
    "W2 finite": ("#E69F00", "s", "$W_2$, finite"),
    "W2 on R^d": ("#CC79A7", "D", "$W_2$ on $R^d$"),
}
EXAMPLE = "W2 on R^d"
LINES = ("-", "--", "-.")
MARKERS = ("D", "o", "^")
POWERS = {"-0.25": "-1/4", "-0.5": "-1/2", "-1": "-1"}


def draw(table):
    figure, (example, slopes) = new(height=3.0, panels=2)
    last = table.loc[table.groupby("schedule", sort=False)["size"].idxmax()].sort_values("rms")
    last = last.assign(
        ball=last.schedule.str.split(", ").str[0],
        held=[_held(table, schedule) for schedule in last.schedule],
    )
    shown = last[last.ball == EXAMPLE]
    for schedule, marker, style in zip(shown.schedule, MARKERS, LINES, strict=False):
        mine = table[table.schedule == schedule].sort_values("size")
        covered = _held(table, schedule)
        look = {"color": BALLS[EXAMPLE][0], "marker": marker, "linestyle": style}
        face = look["color"] if covered > 0.9 else "white"
        label = f"{_radius(schedule)}, holds the truth: {100 * covered:.0f} %"
        points(example, mine["size"], mine, ("rms", "low", "high"), **look, markerfacecolor=face, label=label)
        if mine.exponent.iloc[-1] > -0.5:
            example.plot(mine["size"], mine.to_robust, color="0.4", linewidth=0.8, linestyle=":")
    sizes = table["size"].drop_duplicates().sort_values()
    for exponent, name, start in ((-0.25, "slope $-1/4$", 4.0), (-0.5, "slope $-1/2$", 0.05)):
        guide(example, sizes, start, exponent, "_")
        at = sizes.iloc[len(sizes) // 2]
        height = start * (at / sizes.iloc[0]) ** exponent
        label_at(example, at, height, name, shift=(3, 3) if exponent > -0.5 else (-3, -3))
    example.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"rms $\|\theta_n-\theta^*\|_2$",
        title="$W_2$ ball on $R^d$",
    )
    order = last.sort_values(["ball", "slope"]).reset_index(drop=True)
    for ball, (colour, marker, _) in BALLS.items():
        for place, row in order[order.ball == ball].iterrows():
            face = colour if row.held > 0.9 else "white"
            reach = [[row.slope - row.slope_low], [row.slope_high - row.slope]]
            slopes.errorbar(
                row.slope,
                place,
                xerr=reach,
                color=colour,
                marker=marker,
                markerfacecolor=face,
                elinewidth=0.8,
            )
    names = [f"{BALLS[row.ball][2]}: {_radius(row.schedule)}" for row in order.itertuples()]
    slopes.set_yticks(range(len(names)), names)
    slopes.tick_params(axis="y", labelsize=6.5)
    for level in (-0.5, -0.25):
        slopes.axvline(level, color="0.5", linewidth=0.7, linestyle=(0, (1, 1)))
    slopes.set(
        xlabel="slope of the distance to theta* against n",
        ylabel="ball and radius",
        xlim=(-0.56, -0.19),
        ylim=(-0.6, len(names) - 0.4),
        title="all schedules; filled: holds the truth",
    )
    legend_below(example)
    return figure


def _radius(schedule):
    scale, power = schedule.split(", ")[1].split(" n^")
    return rf"${scale}\,n^{{{POWERS.get(power, power)}}}$"


def _held(table, schedule):
    """Share of large samples whose ball holds the truth."""
    mine = table[table.schedule == schedule]
    large = mine[mine["size"] >= 1e6]
    return float((large if len(large) else mine).covered.mean())
