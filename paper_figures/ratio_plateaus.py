"""DPO, KTO and BCO stop short of the preferred law however many comparisons there are; RDRO and SFT do not.

(a) Mean total variation to p+ under a mixture of groups, 99 % intervals over seeds; thin lines: exact limits.
(b) Exact limits of DPO over beta: none is 0.
"""

from distalign.figures import METHODS, guide, label_at, legend_below, line, new, points

SAMPLES = {
    "DPO, beta 0.1": ("DPO", "v", r"DPO, $\beta = 0.1$"),
    "KTO": ("Dr. DPO", "s", r"KTO, $\beta = 0.1$"),
    "DPO, beta 1": ("DPO", "<", r"DPO, $\beta = 1$"),
    "BCO": ("KLDPO", "P", r"BCO, $\beta = 1$"),
    "DPO, best beta": ("DPO", ">", r"DPO, nearest $\beta$"),
}
CURVES = {
    "intransitive": ("intransitive", "-", "#D55E00"),
    "bradley_terry": ("Bradley-Terry", ":", "#000000"),
    "mixed": ("mixture of groups", "--", "#0072B2"),
}


def draw(table):
    figure, (left, right) = new(height=2.9, panels=2)
    mixed = table[(table.part == "samples") & (table.name == "mixed")]
    for name, (style, marker, words) in SAMPLES.items():
        mine = mixed[mixed.method == name].sort_values("size")
        colour = METHODS[style][0]
        points(left, mine["size"], mine, color=colour, marker=marker, linestyle=":", label=words)
        left.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    for name in ("SFT", "RDRO"):
        mine = mixed[mixed.method == name].sort_values("size")
        line(left, name, mine["size"], mine["mean"], mine.low, mine.high)
    first, start = mine["size"].iloc[0], 0.5 * mine["mean"].iloc[0]
    guide(left, mine["size"], start, -0.5, "_")
    label_at(left, first, start, "slope $-1/2$", shift=(1, -6))
    left.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"mean total variation to $p_+$",
        title="samples of a mixture of two groups",
    )
    for name, (words, style, colour) in CURVES.items():
        mine = table[(table.part == "curve") & (table.name == name) & (table.method == "DPO")]
        mine = mine.sort_values("beta")
        right.plot(mine.beta, mine.limit, color=colour, linestyle=style, label=words)
        least = mine.loc[mine.limit.idxmin()]
        label_at(right, least.beta, least.limit, f"{least.limit:.3f}", colour, shift=(0, -4))
    right.set(
        xscale="log",
        yscale="log",
        ylim=(0.5 * table[table.part == "curve"].limit.min(), 1.2),
        xlabel=r"$\beta$",
        ylabel=r"total variation to $p_+$",
        title=r"DPO's limit, $n = \infty$ (RDRO, SFT: 0)",
    )
    legend_below(left, columns=2)
    legend_below(right)
    return figure
