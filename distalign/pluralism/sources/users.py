"""Users that are given and not fitted: a list, a table of utilities, or random points in a cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError, whole
from distalign.pluralism.sources.columns import USER, WEIGHT, plain
from distalign.pluralism.sources.tables import columns_of, numbers_of, read_columns, text_of
from distalign.types import Array

_LARGEST = 10**8  # coordinates, 800 MB
_NAMES = ("id", "index", "unnamed:_0", "")


def users_from_list(rows: Any, common: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Scenario` whose users are a list of {utilities, weight, bt_temperature, group}."""
    types = types_from_list(rows, common, "utilities", "[...]")
    sizes = {len(r["utilities"]) if isinstance(r["utilities"], list) else -1 for r in rows}
    if len(sizes) > 1:
        raise InputError("users must all have utilities for the same alternatives, in the same order")
    return {"utilities": [r["utilities"] for r in rows], **types}


def types_from_list(rows: Any, common: dict[str, Any], key: str, value: str) -> dict[str, Any]:
    """weights, groups and bt_temperature of a list of users that have `key`, as arguments of a `Scenario`.

    Args:
        rows: of the file.
        common: numbers for all of them; a bt_temperature that they override is removed.
        key: utilities of alternatives, or mixture of scores of texts.
        value: how it is written, for the message.

    Raises:
        InputError: it is no list of mappings with `key`, some have a group and some none, or a common
            temperature has no effect.
    """
    known = isinstance(rows, list) and rows and all(isinstance(r, dict) for r in rows)
    if not known or not all(key in r for r in rows):
        other = {"utilities": "mixture", "mixture": "utilities"}[key]
        hint = {
            "utilities": "; mixtures of scores are utilities of texts, which `distalign label` reads",
            "mixture": "; utilities are of alternatives, which `distalign simulate` reads",
        }[key]
        has_other = known and any(other in r for r in rows)
        raise InputError(
            f"users must be a list with one {{{key}: {value}}} for each type of user{hint * bool(has_other)}"
        )
    own = [r.get("bt_temperature") for r in rows]
    groups = [r.get("group") for r in rows]
    if any(groups) and not all(groups):
        raise InputError("either every user has a group or none has")
    return {
        "weights": [r.get("weight", 1) for r in rows],
        "groups": groups if any(groups) else None,
        **_temperatures(own, common),
    }


def _temperatures(own: list[Any], common: dict[str, Any]) -> dict[str, Any]:
    """The argument bt_temperature: each user's own temperature, or the common one where a user has none.

    It is empty where no user has an own temperature. Else the common one is removed from `common`.
    """
    shared = common.get("bt_temperature")
    if all(b is None for b in own):
        return {}
    if shared is not None and all(b is not None for b in own):
        raise InputError(
            "every user has a bt_temperature of his own, so the common one has no effect: remove one of them"
        )
    common.pop("bt_temperature", None)
    return {"bt_temperature": [(5.0 if shared is None else shared) if b is None else b for b in own]}


def users_from_table(path: str, common: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Scenario` from a table: one row a type of user, one column an alternative.

    A column weight (weights, count, counts, n), bt_temperature or group says something of the type. A column
    that names the users (id, user, annotator, ..., or an index that pandas wrote) is left out. What was read
    so is told in `about`.
    """
    file = Path(path)
    present = columns_of(file)
    weights = [c for c in present if plain(c) in (*WEIGHT, "n")]
    if len(weights) > 1:
        raise InputError(
            f"{path}: columns {', '.join(map(repr, weights))} could each be the weight of a type: keep one"
        )
    named = [c for c in present if plain(c) in (*USER, *_NAMES)]
    extra = {*weights, *named, *({"bt_temperature", "group"} & set(present))}
    alternatives = [c for c in present if c not in extra]
    if len(alternatives) < 2:
        raise InputError(
            f"{path} has {len(alternatives)} columns that are alternatives, among "
            f"{', '.join(map(repr, present))}: a table of utilities has one row a type of "
            "user and one column an alternative"
        )
    table = read_columns(file, [c for c in present if c not in named])
    out: dict[str, Any] = {
        "utilities": np.stack([_utility(table, c, file) for c in alternatives], 1),
        "alternatives": alternatives,
    }
    told = []
    if weights:
        out["weights"] = numbers_of(table, weights[0], file)
        if weights[0] != "weight":
            told.append(f"Column {weights[0]!r} was read as the weights of the types.")
    if named:
        told.append(f"Columns that name the users were left out: {', '.join(map(repr, named))}.")
    if told:
        out["about"] = (" ".join(told),)
    if "group" in extra:
        out["groups"] = text_of(table["group"]).tolist()  # pyright: ignore[reportArgumentType]
    if "bt_temperature" in extra:
        own = text_of(table["bt_temperature"]).str.strip()  # pyright: ignore[reportArgumentType]
        filled = numbers_of(table.assign(bt_temperature=own.where(own != "", "1")), "bt_temperature", file)
        out |= _temperatures(
            [None if word == "" else float(b) for word, b in zip(own, filled, strict=True)], common
        )
    return out


def _utility(table: pd.DataFrame, column: str, path: Path) -> Array:
    words = table[column]
    if len(words) and pd.to_numeric(words, errors="coerce").isna().all():  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            f"{path}: column {column!r} holds words, such as {words.iloc[0]!r}: every column but weight, "
            "bt_temperature, group and those that name the users is an alternative"
        )
    return numbers_of(table, column, path)


def spatial_users(given: dict[str, Any], _common: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Scenario` whose users and alternatives lie at random points of a cube."""
    g = {"users": 60, "alternatives": 8, "dimensions": 2, "seed": 0, **given}
    for key, least in (("users", 1), ("alternatives", 2), ("dimensions", 1), ("seed", 0)):
        whole(f"spatial.{key}", g[key], least, "it counts something, or begins the random numbers")
    size = g["users"] * g["alternatives"] * g["dimensions"]
    if size > _LARGEST:
        raise InputError(
            f"spatial asks for {size:.3g} coordinates, users x alternatives x dimensions, and the largest "
            f"number that is drawn is {_LARGEST:.0e}: lower one of them"
        )
    rng = np.random.default_rng(g["seed"])
    places = rng.random((g["users"], 1, g["dimensions"]))
    candidates = rng.random((1, g["alternatives"], g["dimensions"]))
    distance = np.linalg.norm(places - candidates, axis=2) / np.sqrt(g["dimensions"])
    return {
        "utilities": 1 - distance,
        "groups": ["left" if x < 0.5 else "right" for x in places[:, 0, 0]],
        "about": (
            f"Synthetic: {g['users']} users and {g['alternatives']} alternatives at random places of a cube "
            f"in {g['dimensions']} dimensions (seed {g['seed']}); utility is 1 - distance/diagonal, groups "
            "are the halves of the first axis.",
        ),
    }
