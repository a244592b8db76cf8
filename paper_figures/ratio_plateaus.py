"""Total variation to the law of preferred responses.

Shown are samples under a mixture of groups, and the limits over beta.
"""

from distalign.figures import METHODS, guide, line, new

SAMPLES = {
    "DPO, beta 0.1": ("DPO", "v"),
    "DPO, beta 1": ("DPO", "<"),
    "DPO, best beta": ("DPO", ">"),
    "KTO": ("Dr. DPO", "D"),
    "BCO": ("KLDPO", "P"),
}
WORDS = {
    "KTO": r"KTO, $\beta = 0.1$",
    "BCO": r"BCO, $\beta = 1$",
    "DPO, best beta": r"DPO, nearest $\beta$",
    "DPO, beta 1": r"DPO, $\beta = 1$",
    "DPO, beta 0.1": r"DPO, $\beta = 0.1$",
}
CURVES = {
    "intransitive": ("intransitive", "-"),
    "mixed": ("mixture of groups", "--"),
    "bradley_terry": ("Bradley-Terry", ":"),
}


def draw(table):
    figure, (left, right) = new(width=3.2, height=3.3, panels=2)
    mixed = table[(table.part == "samples") & (table.name == "mixed")]
    for name, (style, marker) in SAMPLES.items():
        mine = mixed[mixed.method == name].sort_values("size")
        colour = METHODS[style][0]
        left.plot(mine["size"], mine["mean"], color=colour, marker=marker, linestyle=":", label=WORDS[name])
        left.axhline(mine.limit.iloc[0], color=colour, linewidth=0.6)
    for name in ("SFT", "RDRO"):
        mine = mixed[mixed.method == name].sort_values("size")
        line(left, name, mine["size"], mine["mean"], mine.low, mine.high)
    guide(left, mine["size"], 0.5 * mine["mean"].iloc[0], -0.5, "slope $-1/2$")
    for name, (words, style) in CURVES.items():
        curves = table[(table.part == "curve") & (table.name == name)]
        for method in ("DPO", "BCO"):
            mine = curves[curves.method == method].sort_values("beta")
            colour, marker = (
                METHODS["DPO"][0] if method == "DPO" else METHODS["KLDPO"][0],
                "" if method == "DPO" else "P",
            )
            right.plot(
                mine.beta,
                mine.limit,
                color=colour,
                linestyle=style,
                marker=marker,
                label=f"{method}, {words}",
            )
        at = curves[curves.method == "KTO"]
        right.plot(
            at.beta,
            at.limit,
            color=METHODS["Dr. DPO"][0],
            marker="D",
            linestyle="",
            label="KTO, all three" if name == "mixed" else "_",
        )
    left.set(
        xscale="log",
        yscale="log",
        xlabel="comparisons n",
        ylabel=r"mean total variation to $p_+$",
        title="mixture of two groups; lines: limits",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\beta$",
        ylabel=r"total variation to $p_+$",
        title=r"limits, $n = \infty$ (SFT and RDRO: 0)",
    )
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, fontsize=6, columnspacing=1)
    return figure
