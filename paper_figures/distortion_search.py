"""No search for a worst population passes its bound, and informed ones reach it.

Largest distortion found over the bound, proved for (a) and conjectured for (b). Filled: search started near
the known worst case; open: from scratch. Values are exact for each population found.
"""

from distalign.figures import BOUND, label_at, legend_below, new

LOOK = {
    "Borda": ("#E69F00", "s", "Borda"),
    "maximal lottery": ("#56B4E9", "D", "maximal lottery"),
    "RLHF in a KL ball": ("#D55E00", "v", "RLHF in a KL ball"),
    "RLHF on policy": ("#0072B2", "o", "RLHF on policy"),
}
SEARCHES = {"program": "linear programs", "black box": "black-box search"}


def draw(table):
    figure, panels = new(height=2.6, panels=2)
    for axes, (search, title) in zip(panels, SEARCHES.items(), strict=True):
        for rule, (colour, marker, words) in LOOK.items():
            rows = table[(table.search == search) & (table["rule"] == rule)].sort_values("bt_temperature")
            for worst, face, style in ((True, colour, "-"), (False, "white", ":")):
                mine = rows[rows.worst == worst]
                if len(mine):
                    axes.plot(
                        mine.bt_temperature,
                        mine.share,
                        color=colour,
                        marker=marker,
                        markersize=4.5,
                        markerfacecolor=face,
                        linestyle=style,
                        label=words if worst else "_",
                    )
        axes.axhline(1, **BOUND)
        axes.axhspan(1, 1.2, color="0.93", zorder=0, linewidth=0)
        first = table[table.search == search].bt_temperature.min()
        label_at(axes, first, 1, "beyond the bound: nothing found", shift=(1, 5))
        axes.set(
            xscale="log",
            ylim=(0, 1.15),
            xlabel="Bradley-Terry temperature b",
            ylabel="distortion found / bound",
            title=title,
        )
        legend_below(axes, columns=2)
    panels[1].set_xticks([2, 4, 8], ["2", "4", "8"])
    panels[1].minorticks_off()
    return figure
