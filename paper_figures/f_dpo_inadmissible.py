"""What inadmissible divergences do, against beta over the threshold.

Shown are the error of the reward read off the policy, and how many problems lose a response.
"""

from distalign.figures import DIVERGENCES, line, new


def draw(table):
    figure, (error, lost) = new(panels=2, height=2.9)
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
        axes.axvline(1, color="0.5", linewidth=0.7, linestyle="--", label=r"$\chi^2$ threshold")
        axes.set(
            xscale="log", xlabel=r"$\beta$ in units of the threshold $\frac{1}{2}(E_{ref}\, r - \min r)$"
        )
        axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
        axes.minorticks_off()
        axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    error.set(ylabel="largest error of the reward\n(units of the threshold)")
    lost.set(ylabel="share that loses a response,\nor total variation")
    return figure
