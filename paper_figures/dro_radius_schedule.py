"""Distance to theta* for shrinking radii, one panel per geometry, with the coverage of each schedule."""

from distalign.figures import METHODS, guide, line, new

PANELS = (("KL",), ("W2 on R^d",), ("W1 finite", "W2 finite"))
TITLES = ("KL ball", "$W_2$ ball on $R^d$", "$W_1$ and $W_2$ balls on the finite space")
STYLES = ("AOT", "WDPO", "optimum", "DDRO", "DPO")
BALLS = {"KL": "", "W2 on R^d": "", "W1 finite": "$W_1$: ", "W2 finite": "$W_2$: "}
POWERS = {"-0.25": "-1/4", "-0.5": "-1/2", "-1": "-1"}


def draw(table):
    figure, panels = new(width=2.6, height=3.7, panels=3)
    schedules = list(dict.fromkeys(table.schedule))
    for axes, balls, title in zip(panels, PANELS, TITLES, strict=True):
        shown = sorted(
            (s for s in schedules if s.split(", ")[0] in balls), key=lambda s: -float(_last(table, s).rms)
        )
        for schedule, style in zip(shown, STYLES, strict=False):
            mine, last = table[table.schedule == schedule].sort_values("size"), _last(table, schedule)
            ball, rule = schedule.split(", ")
            scale, power = rule.split(" n^")
            held, limit = 100 * mine[mine["size"] >= 1e6].covered.mean(), 100 * last.predicted_coverage
            name = (
                rf"{BALLS[ball]}$\rho={scale}\,n^{{{POWERS[power]}}}$: "
                rf"{last.slope:.3f}, {held:.0f} % ({limit:.0f} %)"
            )
            line(axes, style, mine["size"], mine.rms, mine.low, mine.high, label=name)
            if last.exponent > -0.5:
                axes.plot(
                    mine["size"],
                    mine.to_robust,
                    color=METHODS[style][0],
                    linewidth=0.8,
                    linestyle=(0, (1, 1)),
                )
        axes.plot(
            [],
            [],
            color="0.3",
            linewidth=0.8,
            linestyle=(0, (1, 1)),
            label="to the robust optimum of the same radius",
        )
        for exponent, name, start in ((-0.25, "$-1/4$", 4.0), (-0.5, "$-1/2$", 0.05)):
            sizes = mine["size"]
            guide(axes, sizes, start, exponent, "_")
            axes.annotate(
                name,
                (sizes.iloc[0], start),
                fontsize=6,
                color="0.3",
                va="bottom" if exponent > -0.5 else "top",
            )
        axes.set_title(title, fontsize=7)
        axes.set(
            xscale="log",
            yscale="log",
            ylim=(1e-6, 20),
            xlabel="comparisons n",
            ylabel=r"rms $\|\theta_n-\theta^*\|_2$",
        )
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.42, -0.17),
            fontsize=5.5,
            title_fontsize=5.5,
            title="radius: slope of the tail, share of balls that hold $P$ (its limit)",
        )
    return figure


def _last(table, schedule):
    mine = table[table.schedule == schedule]
    return mine.loc[mine["size"].idxmax()]
