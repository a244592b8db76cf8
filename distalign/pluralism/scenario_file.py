"""Populations read from files: YAML (or JSON), a table of utilities, votes, ratings or rankings, a Polis
folder, or an example.

Tables may be CSV, TSV, semicolons, Parquet or JSON lines (`distalign.pluralism.sources.tables`).

`distalign simulate --example` prints a YAML file in which every key is explained. A file has exactly one
source of users:

    users:    a list of {utilities: [...], weight, bt_temperature, group}; a mixture of scores of texts beside
              the utilities, or in their place, is read by `distalign label`
    file:     a table, one row a type of user, one column an alternative,
              optional columns weight, bt_temperature, group
    votes:    {file, items, topic, seed, columns, values, repeats}: columns user, first, second, vote, or
              PrefLib rankings; users are fitted to them
    ratings:  {file, reading, columns, seed}: columns user, item, rating; utilities, or pairs to fit users to
    polis:    {folder, statements, seen, meta}: a Polis conversation, by its folder or its log votes.csv
    spatial:  {users, alternatives, dimensions, seed}: ideal points in a cube, utility 1 - distance/diagonal

Beside it there may be name, alternatives, bt_temperature, pairs, reference or log_reference, kl_budget or
lambda, n, comparisons_per_user and people, as `distalign.pluralism.scenario.Scenario` takes them. Paths are
relative to the file.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distalign.checks import InputError, suggestion
from distalign.inputs import read_yaml
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.adapters import adapter_of
from distalign.pluralism.sources.columns import RATINGS, VOTES, plain
from distalign.pluralism.sources.polis import load_polis
from distalign.pluralism.sources.ratings import load_ratings
from distalign.pluralism.sources.survey import load_survey
from distalign.pluralism.sources.tables import columns_of, kind_of
from distalign.pluralism.sources.users import spatial_users, users_from_list, users_from_table

_EXAMPLES = Path(__file__).with_name("examples")
_SOURCES: dict[str, tuple[str, ...]] = {
    "users": ("utilities", "mixture", "weight", "bt_temperature", "group"),
    "file": (),
    "votes": ("file", "items", "topic", "seed", "columns", "values", "repeats"),
    "ratings": ("file", "reading", "columns", "seed"),
    "polis": ("folder", "statements", "seen", "meta"),
    "spatial": ("users", "alternatives", "dimensions", "seed"),
}
INTEGERS = ("n", "comparisons_per_user", "people")
_NUMBERS = ("bt_temperature", "kl_budget", "lambda", *INTEGERS)
_OTHERS = ("name", "alternatives", "pairs", "reference", "log_reference")
_CALIBRATED = (
    "utilities",
    "weights",
    "bt_temperature",
    "people",
    "alternatives",
    "groups",
    "texts",
    "about",
    "name",
)


def examples() -> dict[str, Path]:
    """The populations that come with distalign, by name."""
    return {path.stem: path for path in sorted(_EXAMPLES.glob("*.yaml"))}


def read(source: str | Path) -> dict[str, Any]:
    """The keys of a population: those of a YAML file, or the one source that a table, rankings or a Polis
    folder are.

    Args:
        source: a file, a folder, or the name of an example.

    Raises:
        InputError: there is nothing of that name, the file is of a kind that is not read, or a key is
            unknown or missing.

    Example:
        >>> sorted(read("spatial")), read("spatial")["kl_budget"]
        (['bt_temperature', 'kl_budget', 'name', 'spatial'], 1)
    """
    path = Path(source)
    if not path.exists():
        by_name = examples()
        if str(source) not in by_name:
            raise InputError(
                f"population {source} is neither a file or folder nor an example: "
                f"{suggestion(str(source), by_name)}"
            )
        path = by_name[str(source)]
    if path.is_dir():
        return {"polis": {"folder": str(path)}}
    kind = kind_of(path)
    if kind == "rankings":
        return {"votes": {"file": str(path)}}
    if kind != "yaml":
        return _of_table(path)
    spec = read_yaml(path)
    _check_keys(spec, path)
    named = {} if {"votes", "polis", "ratings"} & set(spec) else {"name": path.stem}
    return {**named, **_with_paths(spec, path.parent)}


def numeric_fields(spec: Mapping[str, Any]) -> list[str]:
    """The names of the numbers of a population that can be replaced.

    Examples are `kl_budget`, `spatial.users` and `users.1.weight`.

    Example:
        >>> numeric_fields({"spatial": {"users": 5, "seed": 0}})[-2:]
        ['spatial.users', 'spatial.seed']
    """
    leaves = [*_NUMBERS]
    for key in set(spec) - set(_NUMBERS) - {"name"}:
        leaves += [name for name, value in _leaves(spec[key], key) if isinstance(value, int | float)]
    return leaves


def build(
    spec: Mapping[str, Any], changes: Mapping[str, float] | None = None, store: Path | None = None
) -> Scenario:
    """The population of the keys that `read` returns, with some numbers replaced.

    Args:
        spec: the keys.
        changes: numbers by the names of `numeric_fields`; the first user is `users.1`.
        store: folder in which a fit to votes is kept for another call.

    Raises:
        InputError: a name is unknown (the message offers those near it), or the source or `Scenario` refuses
            a value.

    Example:
        >>> build(read("two_camps"), {"users.1.weight": 950, "kl_budget": 0.1}).weights.round(2).tolist()
        [0.95, 0.04, 0.01]
    """
    spec = copy.deepcopy(dict(spec))
    for name, value in (changes or {}).items():
        _replace(spec, name, value)
    common = {
        ("kl_strength" if k == "lambda" else k): spec[k]
        for k in (*_NUMBERS, *_OTHERS)
        if spec.get(k) is not None
    }
    (source,) = [k for k in _SOURCES if k in spec]
    if source in ("votes", "ratings", "polis"):
        numbers = {k: v for k, v in common.items() if isinstance(v, int | float)}
        Scenario([[0.0, 1.0]], **numbers)  # a number out of range is refused before the long work  # pyright: ignore[reportArgumentType]
        given: dict[str, Any] = {
            k: _words(k, v) if k in ("columns", "values") else v for k, v in spec[source].items()
        }
        if source == "polis":
            scenario = load_polis(**given)
        else:
            scenario = (load_survey if source == "votes" else load_ratings)(**given, store=store)
        fields = {k: getattr(scenario, k) for k in _CALIBRATED}
    else:
        fields = {"users": users_from_list, "file": users_from_table, "spatial": spatial_users}[source](
            spec[source], common
        )
    return Scenario(**{**fields, **common})


def _words(key: str, given: Any) -> tuple[tuple[str, str], ...]:
    """A mapping of words to words as pairs, which can be a key of a cache."""
    if not isinstance(given or {}, dict):
        raise InputError(f"{key} must map names to names, such as {{user: annotator}}, got {given!r}")
    return tuple(sorted((str(k), str(v)) for k, v in (given or {}).items()))


def _replace(spec: dict[str, Any], name: str, value: float) -> None:
    fields = numeric_fields(spec)
    if name not in fields:
        raise InputError(f"no number {name!r} in this population: {suggestion(name, fields)}")
    spec.pop({"kl_budget": "lambda", "lambda": "kl_budget"}.get(name, ""), None)
    *outer, last = name.split(".")
    inside: Any = spec
    for word in outer:
        inside = inside[int(word) - 1] if isinstance(inside, list) else inside[word]
    key: Any = int(last) - 1 if isinstance(inside, list) else last
    was = inside[key] if isinstance(inside, list) or key in inside else None
    whole = name in INTEGERS or (
        outer and outer[0] in ("spatial", "polis", "votes", "ratings") and isinstance(was, int)
    )
    if whole and not (math.isfinite(value) and value == round(value)):
        raise InputError(f"{name} must be a whole number, got {value!r}: it counts something")
    inside[key] = round(value) if whole else value


def _leaves(value: Any, name: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, f"{name}.{k}")]
    if isinstance(value, list):
        return [leaf for i, v in enumerate(value, 1) for leaf in _leaves(v, f"{name}.{i}")]
    return [(name, value)]


def _of_table(path: Path) -> dict[str, Any]:
    present = {plain(c) for c in columns_of(path)}

    def has(roles: Mapping[str, Sequence[str]], *needed: str) -> bool:
        return all(present & set(roles[role]) for role in needed)

    if {"voter_id", "comment_id", "vote"} <= present:
        return {"polis": {"folder": str(path)}}
    if has(VOTES, "first", "second", "vote") or adapter_of(present):
        return {"votes": {"file": str(path)}}
    if has(RATINGS, "user", "item", "rating"):
        return {"ratings": {"file": str(path)}}
    return {"name": path.name.split(".")[0], "file": str(path)}


def _check_keys(spec: dict[str, Any], path: Path) -> None:
    keys = (*_SOURCES, *_NUMBERS, *_OTHERS)
    for key in spec:
        if key not in keys:
            raise InputError(
                f"{path}: unknown key {key!r}: {suggestion(str(key), keys)} `distalign simulate --example` "
                "explains them all"
            )
    given = [k for k in _SOURCES if k in spec]
    if len(given) != 1:
        raise InputError(
            f"{path} must have exactly one of {', '.join(_SOURCES)}, got {', '.join(given) or 'none'}"
        )
    inner, listed = spec[given[0]], _SOURCES[given[0]]
    for part in inner if isinstance(inner, list) else [inner]:
        for key in part if isinstance(part, dict) else ():
            if key not in listed:
                raise InputError(f"{path}: {given[0]} has no key {key!r}: {suggestion(str(key), listed)}")
    if "lambda" in spec and "kl_budget" in spec:
        raise InputError(f"{path}: give kl_budget or lambda, not both")


def _with_paths(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "file" in spec:
        spec["file"] = str(folder / spec["file"])
    for source in ("votes", "ratings", "polis"):
        inner = spec.get(source)
        if isinstance(inner, dict):
            spec[source] = {
                k: str(folder / v) if k in ("file", "items", "folder") and v else v for k, v in inner.items()
            }
    return spec
