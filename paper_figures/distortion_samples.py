"""Errors fall like n^-1/2 in users; more questions to each user stop helping at the knee.

(a) Largest error of a win probability (filled) and of NLHF's utility (open). (b) Error of the rarest pair;
lines: the law. Means; bands and bars: 99 % intervals over seeds.
"""

from distalign.figures import guide, label_at, legend_below, new

LOOK = {"independent": ("#0072B2", "o", "-"), "one ranking": ("#D55E00", "v", ":")}


def draw(table):
    figure, (left, right) = new(height=3.0, panels=2)
    for measured, words in (("largest_error", r"max $|p_n-p|$"), ("utility_error", "utility of NLHF")):
        for answers, (colour, marker, style) in LOOK.items():
            rows = table[(table["measured"] == measured) & (table["answers"] == answers)]
            filled = colour if measured == "largest_error" else "white"
            left.plot(
                rows["users"],
                rows["mean"],
                color=colour,
                marker=marker,
                linestyle=style,
                markerfacecolor=filled,
                label=f"{words}, {answers}",
            )
            left.fill_between(rows["users"], rows["low"], rows["high"], color=colour, alpha=0.25, linewidth=0)
    first = table[(table["measured"] == "utility_error") & (table["answers"] == "independent")]
    start = first["mean"].iloc[0] / 3
    guide(left, first["users"], start, -0.5, "_")
    label_at(left, first["users"].iloc[0], start, "slope $-1/2$", shift=(3, -5))
    pairs = table[table["measured"] == "pair_error"]
    for i, rarest in enumerate(sorted(pairs["rarest"].unique(), reverse=True)):
        for answers, (colour, marker, style) in LOOK.items():
            rows = pairs[(pairs["rarest"] == rarest) & (pairs["answers"] == answers)]
            right.plot(
                rows["comparisons"],
                rows["mean"],
                color=colour,
                marker=marker,
                linestyle="none",
                label=answers if i == 0 else None,
            )
            right.errorbar(
                rows["comparisons"],
                rows["mean"],
                yerr=[rows["mean"] - rows["low"], rows["high"] - rows["mean"]],
                fmt="none",
                ecolor=colour,
                elinewidth=0.8,
            )
            right.plot(rows["comparisons"], rows["predicted"], color=colour, linewidth=0.8, linestyle=style)
        last = pairs[(pairs["rarest"] == rarest) & (pairs["answers"] == "one ranking")]
        knee = last["saturation"].iloc[0]
        right.axvline(knee, color="0.7", linewidth=0.6)
        right.annotate(
            rf"$\mu_{{min}}=1/{1 / rarest:.0f}$",
            (last["comparisons"].iloc[0], last["mean"].iloc[0]),
            xytext=(-5, -2),
            textcoords="offset points",
            fontsize=6,
            ha="right",
        )
    right.plot(
        [],
        [],
        color="0.3",
        linewidth=0.8,
        label=r"law of the variance: $p(1-p)/(dq)+(1-1/d)\rho$",
    )
    right.plot([], [], color="0.7", linewidth=0.6, label=r"knee: $1/(2\mu_{min}^2)-1$")
    left.set(xscale="log", yscale="log", xlabel="users n, one question each", ylabel="mean absolute error")
    right.set(
        xlim=(0.1, 1.6 * pairs["comparisons"].max()),
        xscale="log",
        yscale="log",
        xlabel="questions to each user d",
        ylabel="root mean square error, rarest pair",
    )
    left.set_title("more users")
    right.set_title("more questions to each")
    legend_below(left)
    legend_below(right)
    return figure
