"""Divergences without the theorem's condition cannot tell rewards once the pull is weak.

(a) Error of the reward read off the policy; (b) share of problems that lose a response. Markers: means over
random problems, (a) with 99 % intervals; vertical: chi-squared's threshold.
"""

from distalign.figures import DIVERGENCES, label_at, legend_below, line, new


def draw(table):
    figure, (error, lost) = new(panels=2, height=2.8)
    for name in ("chi2", "total_variation", "chi2_plus_kl"):
        mine = table[table.divergence == name]
        line(error, name, mine.beta, mine["mean"], mine.low, mine.high, label=DIVERGENCES[name])
        line(lost, name, mine.beta, mine.share_that_drops, label=DIVERGENCES[name])
    chi2 = table[table.divergence == "chi2"]
    lost.plot(
        chi2.beta,
        chi2.forced_loss_misses_by,
        color="0.4",
        marker="+",
        linestyle="-.",
        label=r"TV of the forced $\chi^2$ loss to the $\chi^2$ optimum",
    )
    for axes in (error, lost):
        axes.axvline(1, color="0.5", linewidth=0.7, linestyle="--")
        label_at(axes, 1, 0.3 * axes.get_ylim()[1], r"$\chi^2$ threshold", shift=(3, 0))
        axes.set(xscale="log", xlabel=r"$\beta$ / threshold $\frac{1}{2}(E_{ref}\, r - \min r)$")
        axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
        axes.minorticks_off()
    error.set(ylabel="largest error of the reward\n(units of the threshold)")
    lost.set(ylabel="share that loses a response,\nor total variation")
    error.set_title("reward read off the policy")
    lost.set_title("lost responses")
    legend_below(figure, columns=4)
    return figure
