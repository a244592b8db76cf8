"""Alignment methods on one's own populations, from files to tables, figures and a report: what `distalign
simulate` does. A run can be resumed, and split over machines.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distalign.checks import InputError, one_of
from distalign.pluralism.grid import grid_cells, grid_points, parse_sweeps, summary
from distalign.pluralism.own_rules import Rule, label_of
from distalign.pluralism.result import Grid, Simulation, file_name
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.columns import pairs_of_words
from distalign.pluralism.sources.votes import REPEATS
from distalign.simulation import sweep

Source = str | Path | Mapping[str, Any] | Scenario


def simulate(
    populations: Source | Sequence[Source],
    methods: Sequence[str | Rule] = (),
    *,
    sweeps: Sequence[str] = (),
    settings: Mapping[str, float] | None = None,
    seeds: int = 20,
    seed: int = 0,
    bootstrap: int = 200,
    workers: int = 1,
    backend: str = "loky",
    out: Path | str | None = None,
    command: str = "",
) -> Simulation:
    """Apply methods to populations, over a grid of their numbers, and say what happens.

    Args:
        populations: one or several of: files, folders and names as `distalign.pluralism.read` takes them, the
            keys of a file as a dictionary, scenarios.
        methods: words of `distalign.pluralism.parse_methods`, or rules of one's own: functions from a
            `ChoiceProblem` to probabilities; none means all rules.
        sweeps: words of `distalign.pluralism.grid.parse_sweeps`.
        settings: numbers replaced in all populations.
        seeds: samples of n users; one where no n is given, because nothing is drawn then.
        seed: the first of them, and the seed of the bootstrap.
        bootstrap: resamples of people, 0 for none.
        workers: processes. Results do not depend on it.
        backend: `loky` (processes on this machine) or `dask` (the current `distributed` client, or a local
            one). Results do not depend on it.
        out: folder, created; None writes nothing. Below it go simulation.csv (one row a population, point,
            seed and method), summary.csv (over seeds), policies.csv, groups.csv (average utility of each
            group), win_matrix.csv (populations at their first point), figures/<population>.pdf and .png (and
            <population>--frontier, --groups and --wins), report.md, index.html (a page that opens without a
            network), and cells/ with one file a point and seed. Those are written whole, named by what was
            asked and by the source that answered, and used again: a run that was killed goes on where it
            stopped.
        command: what the page says made it; "" writes this call.

    Raises:
        InputError: before anything is computed, if a file or an argument cannot be used.

    Example:
        >>> found = simulate(["two_camps"], ["Borda", "NLHF"])
        >>> found.table.distortion.round(3).tolist()
        [1.0, 1.007]
        >>> def most_wins(problem):
        ...     wins = (problem.win > 0.5).sum(1)
        ...     return (wins == wins.max()) / (wins == wins.max()).sum()
        >>> simulate("two_camps", [most_wins, "Copeland"]).table.distortion.round(3).tolist()
        [1.057, 1.057]
    """
    given = _several(populations)
    how: dict[str, Any] = {
        "sweeps": sweeps,
        "settings": settings,
        "seeds": seeds,
        "seed": seed,
        "bootstrap": bootstrap,
    }
    made = command or _call(given, methods, how)
    how |= {"workers": workers, "backend": backend}
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _gathered(*compute(given, methods, out=folder, **how), methods, Path(folder), made)
    found = _gathered(*compute(given, methods, out=out, **how), methods, Path(out), made)
    found.write(out)
    return found


def compute(
    populations: Source | Sequence[Source],
    methods: Sequence[str | Rule] = (),
    *,
    out: Path | str,
    sweeps: Sequence[str] = (),
    settings: Mapping[str, float] | None = None,
    seeds: int = 20,
    seed: int = 0,
    bootstrap: int = 200,
    workers: int = 1,
    backend: str = "loky",
    shard: tuple[int, int] = (0, 1),
) -> tuple[Grid, list[sweep.Cell]]:
    """Compute the cells that `out` does not hold yet, and nothing else; arguments as in `simulate`.

    Args:
        shard: (i, N) computes every N-th cell from the i-th; when all N are done, `simulate` gathers them.

    Returns:
        The grid, and all of its cells, those of other shards included.
    """
    given, folder = _several(populations), Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out {out} is a file: name a folder")
    if not given:
        raise InputError(
            "no population: name a YAML or CSV file, a Polis folder or an example; `distalign simulate "
            "--example` prints a YAML file to start from"
        )
    grid = grid_points(given, parse_sweeps(sweeps), settings, folder / "cells")
    names = list(dict.fromkeys(point["population"] for point, _ in grid))
    places = [file_name(name) for name in names]
    for name, place in zip(names, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"population {name!r} would share the figure {place}.pdf: give it another name")
    cells = grid_cells(grid, methods, seeds, seed, bootstrap, folder / "cells")
    index, count = shard
    sweep.run(cells[index::count], folder / "cells", workers=workers, backend=backend)
    return grid, cells


def _several(populations: Source | Sequence[Source]) -> list[Source]:
    one = isinstance(populations, str | Path | Mapping | Scenario)
    return [populations] if one else list(populations)  # type: ignore[list-item]


def _call(populations: list[Source], methods: Sequence[str | Rule], how: dict[str, Any]) -> str:
    """The call of `simulate` in Python, but for a folder and a number of processes."""
    given = [f"Scenario(name={p.name!r})" if isinstance(p, Scenario) else repr(p) for p in populations]
    named = [repr(m) if isinstance(m, str) else label_of(m) for m in methods]
    plain = {"sweeps": (), "settings": None, "seeds": 20, "seed": 0, "bootstrap": 200}
    other = "".join(f", {k}={v!r}" for k, v in how.items() if v != plain[k])
    return f"distalign.simulate([{', '.join(given)}], [{', '.join(named)}]{other})"


def _gathered(
    grid: Grid, cells: list[sweep.Cell], methods: Sequence[str | Rule], out: Path, command: str
) -> Simulation:
    fields = tuple(name for name in grid[0][0] if name != "population")
    rows = sweep.rows(cells, out / "cells").drop(columns="bootstrap")
    return Simulation(rows, summary(rows, fields), grid, tuple(methods), fields, command)


def populations_of(
    populations: Sequence[str],
    votes: Path | None = None,
    items: Path | None = None,
    topic: str | None = None,
    columns: Sequence[str] = (),
    values: Sequence[str] = (),
    repeats: str = "count",
) -> list[Source]:
    """The populations named, and the one fitted to `votes`.

    Raises:
        InputError: items, a topic, columns, values or repeats without votes, words that are no pairs of
            names, or `repeats` is neither count nor merge.
    """
    named, said = pairs_of_words("--columns", columns), pairs_of_words("--values", values)
    one_of("--repeats", repeats, REPEATS)
    if votes is None:
        if items or topic or named or said or repeats != "count":
            raise InputError("--items, --topic, --columns, --values and --repeats belong to --votes")
        return [*populations]
    given = {
        "file": str(votes),
        "items": items and str(items),
        "topic": topic,
        "columns": named,
        "values": said,
        "repeats": "" if repeats == "count" else repeats,
    }
    return [*populations, {"votes": {k: v for k, v in given.items() if v}}]
