"""`distalign simulate`: from populations to tables, figures and a report; it can be killed and resumed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError
from distalign.figures import save, write_table
from distalign.files import write_whole
from distalign.pluralism.figure import draw_population
from distalign.pluralism.grid import Point, grid_cells, grid_points, parse_sweeps, summary
from distalign.pluralism.report import report
from distalign.pluralism.run import GROUP
from distalign.pluralism.scenario import Scenario
from distalign.simulation import sweep

Source = str | Path | Mapping[str, Any] | Scenario


def run_simulation(
    populations: Sequence[Source],
    out: Path,
    *,
    methods: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    settings: Mapping[str, float] | None = None,
    seeds: int = 20,
    seed: int = 0,
    bootstrap: int = 200,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
) -> pd.DataFrame | None:
    """Apply methods to populations, over a grid of their numbers, and write what happens.

    These files are written below `out`:

    - simulation.csv: one row a population, point, seed and method; `distalign.pluralism.run.simulate` says
      what the columns are.
    - summary.csv: the means over seeds.
    - policies.csv: the probabilities of the alternatives.
    - groups.csv: the average utility of each group.
    - win_matrix.csv: the win matrices of the populations at their first point.
    - figures/<population>.pdf and .png, and report.md.
    - cells/: one file a point and seed. Such a file is written whole, is named by a digest of its arguments
      and of the source code, and is used again, so that a run that was killed goes on where it stopped.

    Args:
        populations: files, folders and names as `distalign.pluralism.scenario_file.read` takes them, the keys
            that it returns, or scenarios.
        out: folder for the results; it is created.
        methods: words of `distalign.pluralism.methods.parse_methods`; none means all rules.
        sweeps: words of `distalign.pluralism.grid.parse_sweeps`.
        settings: numbers replaced in all populations, by name.
        seeds: number of samples of n users; one where no n is given, because nothing is drawn then.
        seed: the first seed, which is also that of the bootstrap.
        bootstrap: number of resamples of people; 0 for none.
        workers: number of processes.
        shard: (i, N) computes every N-th cell from the i-th on and writes nothing else.

    Returns:
        The summary, or None for one of several shards.

    Raises:
        InputError: a file or an argument cannot be used; it is raised before anything is computed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = run_simulation(["two_camps"], folder, methods=["Borda", "NLHF"])
        >>> table.distortion.round(3).tolist()
        [1.0, 1.007]
        >>> sorted(path.name for path in folder.iterdir())[2:5]
        ['groups.csv', 'policies.csv', 'report.md']
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out {out} is a file: name a folder")
    if not populations:
        raise InputError(
            "no population: name a YAML or CSV file, a Polis folder or an example; `distalign simulate "
            "--example` prints a YAML file to start from"
        )
    grid = grid_points(populations, parse_sweeps(sweeps), settings)
    cells = grid_cells(grid, methods, seeds, seed, bootstrap)
    index, count = shard
    sweep.run(cells[index::count], out / "cells", workers=workers)
    if count > 1:
        return None
    fields = [name for name in grid[0][0] if name != "population"]
    rows = sweep.rows(cells, out / "cells").drop(columns="bootstrap")
    table = summary(rows, fields)
    _write(rows, table, grid, fields, out)
    write_whole(
        out / "report.md",
        lambda p: p.write_text(
            report(
                "Alignment methods on populations",
                [
                    (scenario, table.loc[table["population"] == name])
                    for name, scenario in _first(grid).items()
                ],
                methods,
                fields,
            )
        ),
    )
    return table


def populations_of(
    populations: Sequence[str], votes: Path | None = None, items: Path | None = None, topic: str | None = None
) -> list[Source]:
    """The populations that the command line names, and the one to be fitted to `votes`.

    Raises:
        InputError: items or a topic are given without votes.
    """
    if votes is None and (items or topic):
        raise InputError("--items and --topic belong to --votes")
    given = {"file": votes, "items": items, "topic": topic}
    fitted = [] if votes is None else [{"votes": {k: str(v) for k, v in given.items() if v is not None}}]
    return [*populations, *fitted]


def _write(
    rows: pd.DataFrame,
    table: pd.DataFrame,
    grid: Sequence[tuple[Point, Scenario]],
    fields: list[str],
    out: Path,
) -> None:
    labels = ["population", *fields, "seed", "method"]
    own = [c for c in rows.columns if str(c).startswith(GROUP)]
    groups = rows.melt(labels, own, "group", "utility")
    groups = groups.loc[groups["utility"].notna()].replace(
        {"group": {c: str(c).removeprefix(GROUP) for c in own}}
    )
    plain = rows.drop(columns=["policy", *own])
    write_table(plain.loc[:, labels + [c for c in plain if c not in labels]], out / "simulation.csv")
    write_table(table, out / "summary.csv")
    write_table(groups, out / "groups.csv")
    scenarios = _first(grid)
    policies = [
        _policies(rows.loc[rows["population"] == name], scenario, labels)
        for name, scenario in scenarios.items()
    ]
    write_table(pd.concat(policies), out / "policies.csv")
    write_table(pd.concat([_wins(s) for s in scenarios.values()]), out / "win_matrix.csv")
    for name, scenario in scenarios.items():
        its_groups = groups.loc[groups["population"] == name]
        _figure(table.loc[table["population"] == name], its_groups, scenario, fields, out / "figures")


def _figure(
    table: pd.DataFrame, groups: pd.DataFrame, scenario: Scenario, fields: list[str], folder: Path
) -> None:
    first = {f: table[f].iloc[0] for f in fields[1:]}
    for f, value in first.items():
        table = table.loc[table[f] == value]
    if not np.isfinite(table["average_utility"].to_numpy(float)).any():
        return
    means = groups.pivot_table("utility", ["method", "group"]).reset_index()
    kind = (
        "Semi-synthetic population calibrated on real answers" if scenario.people else "Synthetic population"
    )
    what = (
        "95 % intervals over seeds"
        if scenario.n or "n" in fields
        else (
            "95 % bootstrap intervals over people"
            if scenario.people
            else "no intervals, the types are given exactly"
        )
    )
    at = f" At {', '.join(f'{f} = {v:g}' for f, v in first.items())}." if first else ""
    caption = (
        f"{kind}: {scenario.name}. Utility of users and distortion by method; KL budget "
        f"{scenario.kl_budget:g} nats; {what}.{at}"
    )
    save(
        draw_population(table, means, fields[0] if fields else None),
        folder / file_name(scenario.name),
        caption,
        table,
    )


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


def _first(grid: Sequence[tuple[Point, Scenario]]) -> dict[str, Scenario]:
    """Each population at its first point of the grid, by name."""
    scenarios: dict[str, Scenario] = {}
    for point, scenario in grid:
        scenarios.setdefault(point["population"], scenario)
    return scenarios


def file_name(name: str) -> str:
    """The file name of a population: its letters, digits and underscores, and hyphens for all else.

    Example:
        >>> file_name("two camps / 2")
        'two-camps-2'
    """
    return re.sub(r"\W+", "-", name).strip("-") or "population"
