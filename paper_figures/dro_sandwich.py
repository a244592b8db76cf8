"""The robust loss of a W2 ball lies between its two gradient penalties at every radius.

Premium over the plain loss for one parameter, exact by convex programs on R^d and on the finite space, where
it starts like rho^2.
"""

from distalign.figures import BOUND, legend_below, new


def draw(table):
    figure, (axes,) = new(height=2.8)
    table = table.sort_values("radius")
    axes.plot(table.radius, table.exact, color="#CC79A7", marker="D", label=r"exact, $\mathbf{R}^d$")
    axes.plot(table.radius, table.low, **BOUND, label="gradient regulariser (lower)")
    axes.plot(table.radius, table.high, color="black", linewidth=0.9, linestyle=":", label="upper bound")
    axes.plot(table.radius, table.finite, color="#0072B2", marker="o", label="exact, finite space")
    axes.plot(
        table.radius,
        table.slope * table.radius**2,
        color="0.5",
        linewidth=0.7,
        linestyle=(0, (1, 1)),
        label=r"$\eta\rho^2$",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"radius $\rho$",
        ylabel=r"premium $L^{W_2}(\rho)-\mathrm{E}\,l$",
        ylim=(table.finite.min() / 2, 2 * table.high.max()),
    )
    legend_below(figure, columns=2)
    return figure
