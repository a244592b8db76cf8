"""Gradient norms before clipping.

The largest over runs along training, and the share of steps that exceed a norm.
"""

from distalign.figures import METHODS, new

STYLES = {  # colour of a method, line, marker
    "SFT": ("SFT", "-.", "^"),
    "RDRO": ("RDRO", "-", "o"),
    "RDRO, least squares": ("KLDPO", "-", "P"),
    "DDRO, floor": ("DDRO", "--", "s"),
    "DDRO, linear in the ratio": ("reference", "--", "x"),
    "DDRO, linear in its logarithm": ("reference", ":", "<"),
    "DDRO, least squares": ("DPO", "--", "v"),
    "KTO": ("Dr. DPO", ":", "D"),
}
LEFT, RIGHT = 0.3, 1.0


def draw(table):
    figure, (left, right) = new(width=3.3, height=3.5, panels=2)
    ends = table[table.part == "summary"].set_index(["method", "delta"])["mean"]
    for name, (style, dashes, marker) in STYLES.items():
        looks = {"color": METHODS[style][0], "linestyle": dashes, "marker": marker}
        curve = table[(table.part == "curve") & (table.method == name) & (table.delta == LEFT)].sort_values(
            "step"
        )
        tail = table[(table.part == "tail") & (table.method == name) & (table.delta == RIGHT)].sort_values(
            "norm"
        )
        words = f"{name}: ends at {ends[name, LEFT]:.2f}, {ends[name, RIGHT]:.2f}"
        left.plot(curve.step, curve.norm, markevery=max(1, len(curve) // 6), label=words, **looks)
        right.plot(tail.norm, tail.share, **looks)
    left.set(
        yscale="log",
        xlabel="step",
        ylabel="largest gradient norm of all runs",
        title=rf"$\delta = {LEFT}$: $p_+$ and $p_-$ overlap",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="gradient norm",
        ylabel="share of steps above it",
        title=rf"$\delta = {RIGHT}$: nearly apart",
    )
    handles, labels = left.get_legend_handles_labels()
    for axes, first in ((left, 0), (right, 4)):
        axes.legend(
            handles[first : first + 4],
            labels[first : first + 4],
            loc="upper center",
            bbox_to_anchor=(0.45, -0.16),
            fontsize=6,
            title=r"total variation to $p_+$ in the end, $\delta = 0.3, 1$",
            title_fontsize=6,
        )
    return figure
