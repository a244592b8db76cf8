"""What a simulation found: its tables, figures and report, in memory and as files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distalign.checks import InputError, one_of
from distalign.figures import save, write_table
from distalign.files import write_text
from distalign.pluralism.figure import draw_population
from distalign.pluralism.grid import Point, group_summary
from distalign.pluralism.html_report import Part, html_report
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.report import report
from distalign.pluralism.run import CHANGE, ENDS, GROUP
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.views import draw_frontier, draw_groups, draw_wins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Grid = list[tuple[Point, Scenario]]
VIEWS = ("gain", "frontier", "groups", "wins")


@dataclass(frozen=True, eq=False)
class Simulation:
    """What alignment methods would do to populations.

    Attributes:
        rows: one row a population, point of the grid, seed and method; `distalign.pluralism.apply_methods`
            says what the columns are.
        table: one row a population, point and method: the summary over seeds, with 95 % intervals.
        grid: each point of the grid (population, and the swept numbers) with its scenario.
        methods: as they were asked for.
        fields: the swept numbers.
        command: what made it, for the report.
    """

    rows: pd.DataFrame
    table: pd.DataFrame
    grid: Grid
    methods: tuple[str | Rule, ...]
    fields: tuple[str, ...]
    command: str = ""

    @property
    def populations(self) -> dict[str, Scenario]:
        """Each population by name, at its first point."""
        found: dict[str, Scenario] = {}
        for point, scenario in self.grid:
            found.setdefault(point["population"], scenario)
        return found

    @property
    def groups(self) -> pd.DataFrame:
        """The average utility of each group, one row a population, point, seed, method and group.

        Columns utility and change (against the same group under the reference), each with _low and _high, the
        ends of a bootstrap interval where there is one.
        """
        measures = {"utility": GROUP, "change": CHANGE}
        columns = [name + end for name in measures for end in ("", "_low", "_high")]
        parts = [pd.DataFrame(columns=[*self._labels, "group", *columns])]  # pyright: ignore[reportArgumentType]
        for group in [c.removeprefix(GROUP) for c in map(str, self.rows.columns) if c.startswith(GROUP)]:
            part = self.rows.loc[:, self._labels].assign(group=group)
            for name, kind in measures.items():
                for end, before in (("", ""), ("_low", ENDS[0]), ("_high", ENDS[1])):
                    part[name + end] = self.rows[before + kind + group]
            parts.append(part.loc[part["utility"].notna()])
        return pd.concat(parts[1:] or parts, ignore_index=True)

    def plot(self, population: str | None = None, view: str = "gain") -> list[Axes]:
        """The axes of one figure of a population.

        Args:
            population: its name; may be left out where there is one.
            view: `gain` (gain and distortion, by method or over the swept number), `frontier` (average
                utility against KL, worst-off user against average), `groups` (who wins and who loses) or
                `wins` (heat map of the win matrix). All but the first are of the first point of a sweep.

        Returns:
            The axes; `axes[0].figure` is the figure itself.

        Raises:
            InputError: no population or view of that name, or no method has a certified policy.
        """
        names = list(self.populations)
        if population is None and len(names) > 1:
            raise InputError(f"population: name one of {', '.join(map(repr, names))}")
        name = population or names[0]
        one_of("population", name, names)
        one_of("view", view, VIEWS)
        figure = self._figure(name, view)
        if figure is None:
            raise InputError(f"population {name!r} has no figure: no method has a certified policy there")
        return figure.axes

    def write(self, out: Path | str) -> None:
        """Write tables, figures and the report below `out`; `simulate` names the files.

        Raises:
            InputError: a file cannot be written.
        """
        folder, labels = Path(out), self._labels
        plain = self.rows.drop(columns=["policy", *self._group_columns])
        write_table(plain.loc[:, labels + [c for c in plain if c not in labels]], folder / "simulation.csv")
        write_table(self.table, folder / "summary.csv")
        write_table(self.groups, folder / "groups.csv")
        populations = self.populations
        policies = [_policies(_of(self.rows, name), s, labels) for name, s in populations.items()]
        write_table(pd.concat(policies), folder / "policies.csv")
        write_table(pd.concat([_wins(s) for s in populations.values()]), folder / "win_matrix.csv")
        shown = [self._part(name, folder / "figures") for name in populations]
        parts = [(part.scenario, part.table) for part in shown]
        text = report("Alignment methods on populations", parts, self.methods, list(self.fields))
        write_text(folder / "report.md", text)
        page = html_report(shown, self.methods, list(self.fields), self.command)
        write_text(folder / "index.html", page)

    def _part(self, population: str, folder: Path) -> Part:
        """The figures of a population, written, and all that the page shows of it."""
        scenario, figures = self.populations[population], {}
        for view in VIEWS:
            figure = self._figure(population, view)
            if figure is None:
                continue
            name = file_name(population) + ("" if view == "gain" else f"--{view}")
            table = self._drawn(population, view)
            caption = self._caption(scenario, view, self._at_first(population))
            save(figure, folder / name, caption, table)
            figures[view] = (caption, (folder / f"{name}.png").read_bytes())
        return Part(
            scenario,
            _of(self.table, population),
            self._groups_at_first(population),
            self._chosen(population),
            figures,
        )

    @property
    def _labels(self) -> list[str]:
        return ["population", *self.fields, "seed", "method"]

    @property
    def _group_columns(self) -> list[str]:
        own = (GROUP, CHANGE)
        kinds = (*own, *(end + kind for end in ENDS for kind in own))
        return [c for c in map(str, self.rows.columns) if c.startswith(kinds)]

    def _at_first(self, population: str, fields: int = 1) -> pd.DataFrame:
        """The summary of a population where all swept numbers from `fields` on have their first value."""
        table = _of(self.table, population)
        for field, value in {f: table[f].iloc[0] for f in self.fields[fields:]}.items():
            table = table.loc[table[field] == value]
        return table

    def _groups_at_first(self, population: str) -> pd.DataFrame:
        """What each group gets from each method, and the change against the reference, at the first point."""
        table, groups = _of(self.table, population), _of(self.groups, population)
        for field in self.fields:
            groups = groups.loc[groups[field] == table[field].iloc[0]]
        return group_summary(groups)

    def _chosen(self, population: str) -> pd.DataFrame:
        """The policies of the first point, averaged over seeds: methods x alternatives."""
        rows, table = _of(self.rows, population), _of(self.table, population)
        for field in self.fields:
            rows = rows.loc[rows[field] == table[field].iloc[0]]
        named = list(self.populations[population].alternatives or ())
        certified = rows.loc[rows["certified"]]
        policies = {
            str(method): np.mean(np.stack(part["policy"].tolist()), 0)
            for method, part in certified.groupby("method", sort=False)
        }
        return pd.DataFrame(policies, index=pd.Index(named, name="alternative")).T

    def _drawn(self, population: str, view: str) -> pd.DataFrame:
        """The numbers of a figure."""
        if view == "wins":
            return _wins(self.populations[population])
        if view == "groups":
            groups, table = self._groups_at_first(population), self._at_first(population, 0)
            return groups if len(groups) else table
        budgets = view == "frontier" and self.fields[:1] == ("kl_budget",)
        return self._at_first(population, 1 if view == "gain" or budgets else 0)

    def _figure(self, population: str, view: str) -> Figure | None:
        table = self._at_first(population)
        if not np.isfinite(table["average_utility"].to_numpy(float)).any():
            return None
        scenario = self.populations[population]
        if view == "gain":
            return draw_population(table, self.fields[0] if self.fields else None)
        if view == "frontier":
            return draw_frontier(self._drawn(population, view), scenario)
        if view == "groups":
            return draw_groups(self._at_first(population, 0), self._groups_at_first(population))
        return draw_wins(scenario)

    def _caption(self, scenario: Scenario, view: str, table: pd.DataFrame) -> str:
        kind = (
            "Semi-synthetic population calibrated on real answers"
            if scenario.people
            else "Synthetic population"
        )
        if view == "wins":
            return (
                f"{kind}: {scenario.name}. The exact win matrix, best alternatives first; no intervals, for "
                "it is the law that the methods are given."
            )
        what = "no intervals, the types are given exactly"
        if scenario.n or "n" in self.fields:
            what = "95 % intervals over seeds"
        elif scenario.people:
            what = "95 % intervals over people, drawn again"
        swept = (
            self.fields[:1] if view == "gain" or (view, *self.fields[:1]) == ("frontier", "kl_budget") else ()
        )
        first = {f: table[f].iloc[0] for f in self.fields[len(swept) :]}
        at = f" At {', '.join(f'{f} = {v:g}' for f, v in first.items())}." if first else ""
        ball = f"KL budget {scenario.kl_budget:g} nats"
        if {"kl_budget", "lambda"} & set(swept):
            ball = "KL budget as swept"
        elif scenario.kl_strength is not None:
            ball = f"KL budget what lambda = {scenario.kl_strength:g} spends"
        off = view != "groups" and bool(table["off_budget"].to_numpy().any())
        hollow = " Hollow: off the budget, compared with all lotteries." if off else ""
        return f"{kind}: {scenario.name}. {_SHOWS[view]}; {ball}; {what}.{at}{hollow}"


_SHOWS = {
    "gain": "Gain over the reference as a share of the most the ball allows, and distortion, by method",
    "frontier": "Average utility against KL, with the most that any policy of that KL has, and the worst-off "
    "user against the average",
    "groups": "Change of the average utility of each group against the reference, and shares of users who "
    "are better and worse off",
}


def _of(table: pd.DataFrame, population: str) -> pd.DataFrame:
    return table.loc[table["population"] == population]


def _policies(rows: pd.DataFrame, scenario: Scenario, labels: list[str]) -> pd.DataFrame:
    long = rows.loc[:, [*labels, "policy"]].explode("policy", ignore_index=True)
    long.columns = [*labels, "probability"]
    long["alternative"] = list(scenario.alternatives or ()) * len(rows)
    if scenario.texts is not None:
        long["text"] = list(scenario.texts) * len(rows)
    return long


def _wins(scenario: Scenario) -> pd.DataFrame:
    wide = pd.DataFrame(
        scenario.win,
        pd.Index(list(scenario.alternatives or ()), name="alternative"),
        list(scenario.alternatives or ()),
    )
    long = wide.reset_index().melt("alternative", var_name="over", value_name="win_probability")
    return long.assign(population=scenario.name)


def file_name(name: str) -> str:
    """A name as a file name: letters, digits, underscores and hyphens.

    Example:
        >>> file_name("two camps / 2")
        'two-camps-2'
    """
    return re.sub(r"\W+", "-", name).strip("-") or "population"
