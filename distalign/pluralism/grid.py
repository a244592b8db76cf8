"""Grids over the numbers of populations: how they are parsed, cut into resumable cells, and summarised."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError, whole
from distalign.intervals import t_interval
from distalign.pluralism.methods import parse_methods
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.scenario_file import INTEGERS, build, read
from distalign.pluralism.store import PopulationCell, keep
from distalign.simulation import sweep

Point = dict[str, Any]
RUN = "distalign.pluralism.run"
_MOST = 100_000  # values of one field
_LARGEST = 1e15  # users, samples or alternatives


def parse_sweeps(words: Sequence[str]) -> dict[str, list[float]]:
    """Values by field from words such as `bt_temperature=1:20:10`, `n=log:100:1e5:4`, `kl_budget=0.1,1,inf`.

    `from:to:count` stands for evenly spaced values, both ends included. With `log:` before it the logarithms
    of the values are evenly spaced.

    Raises:
        InputError: a word has none of these forms, a field or a value stands twice, a count is below 1, an
            end of `log:` is not above 0, or a value listed for a whole number is not whole. (Of spaced values
            the nearest whole numbers are taken.)

    Example:
        >>> parse_sweeps(["bt_temperature=1:3:3", "n=log:10:1000:3"])
        {'bt_temperature': [1.0, 2.0, 3.0], 'n': [10.0, 100.0, 1000.0]}
    """
    values_of: dict[str, list[float]] = {}
    for word in words:
        field, equals, values = word.partition("=")
        if not (equals and field.strip()) or field in values_of:
            raise InputError(
                f"--sweep {word!r}: "
                + (
                    f"{field} is swept twice"
                    if equals and field.strip()
                    else "write field=from:to:count, field=log:from:to:count or field=value,value"
                )
            )
        values_of[field.strip()] = _values(word, values.strip(), field.strip() in INTEGERS)
    return values_of


def _values(word: str, text: str, whole: bool) -> list[float]:
    values = _spaced(word, text)
    if whole and ":" in text:
        values = [float(round(v)) for v in values]
    if whole and any(v != round(v) for v in values if math.isfinite(v)):
        raise InputError(f"--sweep {word!r}: the field counts something: give whole numbers")
    if whole and any(v > _LARGEST for v in values if math.isfinite(v)):
        raise InputError(f"--sweep {word!r}: the field counts something: give at most {_LARGEST:g}")
    if any(math.isnan(v) for v in values) or len(set(values)) < len(values):
        raise InputError(
            f"--sweep {word!r}: every value must be a number of its own: one that stands twice would count "
            "its seeds twice"
        )
    return values


def _spaced(word: str, text: str) -> list[float]:
    log = text.startswith("log:")
    parts = re.split(":", text.removeprefix("log:"))
    try:
        if len(parts) == 1 and not log:
            return [float(v) for v in text.split(",")]
        first, last, count = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        raise InputError(
            f"--sweep {word!r}: write field=from:to:count, field=log:from:to:count or field=value,value"
        ) from None
    if (
        not 1 <= count <= _MOST
        or len(parts) != 3
        or not np.isfinite([first, last]).all()
        or (log and min(first, last) <= 0)
    ):
        raise InputError(
            f"--sweep {word!r}: count must be from 1 to {_MOST}, ends finite, and both above 0 with log:"
        )
    values = np.geomspace(first, last, count) if log else np.linspace(first, last, count)
    return [float(f"{v:.12g}") for v in values]


def grid_points(
    sources: Sequence[str | Path | Mapping[str, Any] | Scenario],
    sweeps: Mapping[str, Sequence[float]],
    settings: Mapping[str, float] | None = None,
    store: Path | None = None,
) -> list[tuple[Point, Scenario]]:
    """Every population at every point of the grid, each with its labels: its name and the swept fields.

    Args:
        sources: files, folders and names as `distalign.pluralism.scenario_file.read` takes them, the keys
            that it returns, or scenarios (which cannot be swept).
        sweeps: values by field.
        settings: numbers replaced in all populations; they do not become labels.
        store: folder in which fits to votes are kept for another call.

    Raises:
        InputError: two populations have the same name, a population does not have a field, or it refuses a
            value.

    Example:
        >>> [(p["kl_budget"], s.size) for p, s in grid_points(["spatial"], {"kl_budget": [0.1, 1.0]})]
        [(0.1, 8), (1.0, 8)]
    """
    out: list[tuple[Point, Scenario]] = []
    names: list[str] = []
    for source in sources:
        if isinstance(source, Scenario) and (sweeps or settings):
            raise InputError("a Scenario is finished: give its keys or a file to sweep over its numbers")
        spec = (
            None
            if isinstance(source, Scenario)
            else dict(source)
            if isinstance(source, Mapping)
            else read(source)
        )
        for values in itertools.product(*sweeps.values()):
            at = dict(zip(sweeps, values, strict=True))
            made = (
                source
                if isinstance(source, Scenario)
                else build(spec or {}, {**(settings or {}), **at}, store)
            )
            out.append(({"population": made.name, **at}, made))
        names.append(out[-1][1].name)
    if len(set(names)) < len(names):
        raise InputError(
            f"two populations are called {max(names, key=names.count)!r}: give each a name of its own"
        )
    return out


def grid_cells(
    grid: Sequence[tuple[Point, Scenario]],
    methods: Sequence[str | Rule],
    seeds: int,
    seed: int,
    bootstrap: int,
    store: Path | None = None,
) -> list[sweep.Cell]:
    """One cell for each point and seed.

    Where a scenario has no n the law is exact. Further seeds would repeat the first one and are left out. A
    cell holds digests of the population's arrays and not the arrays (`distalign.pluralism.store`).

    Args:
        grid: as `grid_points` returns it.
        methods: words of `distalign.pluralism.methods.parse_methods`.
        seeds: number of samples of each scenario with an n.
        seed: the first seed.
        bootstrap: number of resamples of people; 0 for none.
        store: folder in which the arrays are written. Without one the cells can be named and counted, and not
            be run.

    Raises:
        InputError: a method is unknown, a count is out of range, or a file cannot be written.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    whole("--seed", seed, 0, "any seed will do")
    if seed + seeds > 2**63:
        raise InputError(f"--seed must be below 2^63 less --seeds, got {seed}: any seed will do")
    if not (bootstrap == 0 or 2 <= bootstrap <= _MOST):
        raise InputError(f"--bootstrap must be 0 (no intervals) or 2 to {_MOST:,} resamples, got {bootstrap}")
    place = None if store is None else store.resolve()  # a worker may have started in another folder
    parsed = [[m.word for m in parse_methods(methods, [scenario])] for _, scenario in grid]
    known: dict[int, str] = {}
    out: list[sweep.Cell] = []
    for (labels, scenario), words in zip(grid, parsed, strict=True):
        given = {
            "scenario": keep(scenario, place, known),
            "store": place,
            "methods": words,
            "labels": labels,
            "bootstrap": bootstrap,
        }
        out += [
            PopulationCell("simulate", RUN, {**given, "seed": seed + i}, seed=seed)
            for i in range(seeds if scenario.n else 1)
        ]
    return out


def summary(rows: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """One row a population, point and method, with means over seeds and 95 % intervals.

    The intervals are Student's over seeds, and those of the bootstrap over people where there is one seed.
    Intervals of utilities are cut at 0 and 1. Rows without a certificate are left out and counted.

    The distortion of a sample is the benchmark over the *mean* of the average utility, because the definition
    has the expectation inside the ratio. The ends of its interval are the ratios at the ends of the interval
    of the mean.

    Args:
        rows: the rows of the cells.
        fields: the swept fields.
    """
    out = []
    names = ["population", *fields, "method"]
    for _, part in rows.groupby(names, sort=False, dropna=False):
        good = part.loc[part["certified"]]
        row = {
            **{name: part[name].iloc[0] for name in names},
            "seeds": len(part),
            "uncertified": int(len(part) - len(good)),
            "kl_limit": part["kl_limit"].iloc[0],
            "kl": good["kl"].mean(),
            "off_budget": bool(good["off_budget"].any()),
        }
        for name in ("average_utility", "tenth_percentile", "worst_off", "gain", "better_off", "worse_off"):
            row |= _interval(good, name)
        row |= _distortion(good, row)
        out.append(
            row
            | {
                "bound": part["bound"].iloc[0],
                "note": "; ".join(dict.fromkeys(n for n in part["note"] if n))[:300],
            }
        )
    return pd.DataFrame(out)


def group_summary(groups: pd.DataFrame) -> pd.DataFrame:
    """What each group gets from each method, and how much more that is than from the reference.

    Args:
        groups: rows of `distalign.pluralism.simulation.Simulation.groups` of one population and point.

    Returns:
        Columns method, group, utility, utility_low, utility_high, change, change_low, change_high. The
        intervals (95 %) are Student's over seeds, and those of the bootstrap where there is one seed.
    """
    out = [
        {"method": method, "group": group, **_interval(part, "utility"), **_interval(part, "change")}
        for (method, group), part in groups.groupby(["method", "group"], sort=False)  # pyright: ignore[reportGeneralTypeIssues]
    ]
    columns = ["method", "group", *(f"{n}{e}" for n in ("utility", "change") for e in ("", "_low", "_high"))]
    return pd.DataFrame(out, columns=columns)  # pyright: ignore[reportArgumentType]


def _interval(good: pd.DataFrame, name: str) -> dict[str, float]:
    values = good[name].to_numpy()
    if len(values) < 2:
        first = good.iloc[0] if len(good) else {}
        return {f"{name}{end}": first.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high")}
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    low, high = t_interval(mean, error, len(values), 0.95)
    if name not in ("gain", "change"):
        low, high = max(low, 0.0), min(high, 1.0)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _distortion(good: pd.DataFrame, row: dict[str, Any]) -> dict[str, float]:
    if len(good) < 2:
        return _interval(good, "distortion")
    best = float(good["best"].to_numpy(float).mean())

    def over(utility: float) -> float:
        return max(best / utility, 1.0) if utility > 0 else (1.0 if best == 0 else np.inf)

    return {
        "distortion": over(row["average_utility"]),
        "distortion_low": over(row["average_utility_high"]),
        "distortion_high": over(row["average_utility_low"]),
    }
