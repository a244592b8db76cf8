"""Three more figures of one population: the frontier, who wins and who loses, and who beats whom."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distalign.figures import BOUND, STYLE, legend_below, letter, new
from distalign.pluralism.figure import dot, name_hollow, span, styles_of
from distalign.pluralism.scenario import Scenario
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.types import Array

_GROUP_LOOKS = tuple(zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"), "osvD^P"))
_FAR = 20
_NUMBERED, _NAMED = 12, 40  # alternatives up to which a heat map has numbers in its cells, and names


def draw_frontier(table: pd.DataFrame, scenario: Scenario) -> Figure:
    """Average utility against the KL spent, and the worst-off user against the average.

    The line on the left is the frontier: the highest average utility of any policy that spends as much. Where
    a method spends more than `_FAR` times the budget, KL above the budget is drawn on a logarithmic scale.

    Args:
        table: rows of `distalign.pluralism.grid.summary`, one a method, or several at different budgets.
        scenario: the population.
    """
    with mpl.rc_context(STYLE):
        shown = table.loc[table["average_utility"].notna()]
        figure, (left, right) = new(height=3.6, panels=2)
        limits = [limit for limit in np.unique(shown["kl_limit"]) if 0 < limit < np.inf]
        far = bool(limits) and float(shown["kl"].max()) > _FAR * limits[-1]
        spent, most = _frontier(scenario, float(shown["kl"].max()), limits[-1] if far else None)
        left.plot(spent, most, color="0.6", linewidth=0.9, label="frontier: the most at each KL")
        for limit in np.unique(shown["kl_limit"]):
            if np.isfinite(limit):
                left.axvline(limit, **BOUND, zorder=0, label="KL budget")
        styles = styles_of(shown["method"])
        for method, rows in shown.groupby("method", sort=False):
            style = styles[str(method)]
            for _, row in rows.iterrows():
                dot(left, row, ("average_utility", "kl"), 0, style)
                dot(right, row, ("worst_off", "average_utility"), 0, style)
            left.plot([], [], color=style[0], marker=style[1], linestyle="none", label=str(method))
        name_hollow(left, shown)
        left.set(xlabel="KL from the reference (nats)", ylabel="average utility")
        if far:  # else all that keeps to the budget is one point
            left.set_xscale("symlog", linthresh=limits[-1], linscale=2)
        right.set(xlabel="average utility", ylabel="utility of the worst-off user")
        legend_below(figure, columns=4)
        letter(figure)
        return figure


def _frontier(scenario: Scenario, top: float, near: float | None) -> tuple[Array, Array]:
    """KL and the most average utility that it buys; more points below `near` if it is given."""
    budgets = np.linspace(0, 1.05 * max(top, 1e-3), 60)
    if near is not None:
        more = np.linspace(0, near, 40), np.geomspace(near, top, 40)
        budgets = np.unique(np.concatenate([budgets, *more]))
    average, q = scenario.average_utility, scenario.log_reference
    return budgets, np.array([average @ kl_linear_maximisation(average, q, b).policy for b in budgets])


def draw_groups(table: pd.DataFrame, groups: pd.DataFrame) -> Figure:
    """Who wins and who loses against the reference: the average of each group, and shares of users.

    Args:
        table: rows of `distalign.pluralism.grid.summary`, one a method.
        groups: columns method, group, change, change_low, change_high: of the average utility of each group;
            no rows where users have no groups. More than six groups are drawn without their names.
    """
    with mpl.rc_context(STYLE):
        shown = table.loc[table["average_utility"].notna()]
        names = sorted(set(groups["group"]))
        figure, panels = new(height=1.5 + 0.22 * len(shown), panels=2 if names else 1)
        if names:
            _changes(panels[0], shown, groups, names)
        _shares(panels[-1], shown)
        for axes in panels:
            place = np.arange(len(shown))[::-1]
            labels = shown["method"] if axes is panels[0] else []
            axes.set(yticks=place, yticklabels=labels, ylim=(-0.6, len(shown) - 0.4))
            axes.axvline(0, color="black", linewidth=0.6, zorder=1)
            legend_below(axes, 2)
        panels[0].set_ylabel("method")
        letter(figure)
        return figure


def _changes(axes: Axes, table: pd.DataFrame, groups: pd.DataFrame, names: list[str]) -> None:
    """Change of each group's average utility against the reference."""
    place = dict(zip(table["method"], np.arange(len(table))[::-1], strict=True))
    on = groups.loc[groups["method"].isin(list(place))]
    named = len(names) <= len(_GROUP_LOOKS)
    for i, name in enumerate(names):
        rows = on.loc[on["group"] == name]
        colour, marker = _GROUP_LOOKS[i] if named else ("0.35", ".")
        shift = 0.5 * (i / max(len(names) - 1, 1) - 0.5)
        label = f"group {name}" if named else f"each of {len(names)} groups" if i == 0 else None
        axes.errorbar(
            rows["change"],
            [place[m] - shift for m in rows["method"]],
            xerr=span(rows, "change"),
            fmt=marker,
            color=colour,
            elinewidth=0.7,
            capsize=1,
            label=label,
        )
    axes.set_xlabel("change of the group's average utility")


def _shares(axes: Axes, table: pd.DataFrame) -> None:
    """Shares of users who get less (to the left) and more (to the right) than under the reference."""
    place = np.arange(len(table))[::-1]
    bars = (
        ("worse_off", -1, "0.35", "worse off than under the reference"),
        ("better_off", 1, "0.8", "better off"),
    )
    for measure, sign, colour, label in bars:
        value = sign * table[measure].to_numpy(float)
        error = span(table, measure)
        axes.barh(place, value, 0.62, color=colour, edgecolor="black", linewidth=0.5, label=label)
        if error.any():
            reach = error if sign > 0 else error[::-1]
            axes.errorbar(value, place, xerr=reach, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
    axes.set(xlabel="share of users", xlim=(-1.04, 1.04))
    axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):g}")


def draw_wins(scenario: Scenario) -> Figure:
    """Who beats whom: the probability that the row is preferred to the column, best alternatives first.

    They are ordered by their average probability of winning. Cells have numbers up to twelve alternatives,
    and names up to forty.

    Args:
        scenario: the population, whose exact win matrix is drawn.
    """
    with mpl.rc_context(STYLE):
        order = np.argsort(-scenario.win.mean(1), kind="stable")
        win, size = scenario.win[np.ix_(order, order)], scenario.size
        figure, (axes,) = new(width=4.6, height=4.0)
        image = axes.imshow(win, cmap="PuOr", vmin=0, vmax=1)
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, shrink=0.8, label="P(row preferred to column)")
        if size <= _NAMED:
            names = [_short(str((scenario.alternatives or ())[i])) for i in order]
            axes.set(xticks=range(size), yticks=range(size), yticklabels=names)
            axes.set_xticklabels(names, rotation=90 if max(map(len, names)) > 3 else 0)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set(xlabel="place of the alternative", ylabel="place of the alternative")
        if size <= _NUMBERED:
            for i, j in np.ndindex(size, size):
                colour = "white" if abs(win[i, j] - 0.5) > 0.35 else "black"
                if i != j:
                    axes.text(j, i, f"{win[i, j]:.2f}", ha="center", va="center", fontsize=6, color=colour)
        return figure


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
