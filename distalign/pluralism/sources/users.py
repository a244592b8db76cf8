"""Users that are given and not fitted: a list, a table of utilities, or random points in a cube."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError
from distalign.populations._arrays import at_least


def users_from_list(rows: Any, common: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Scenario` whose users are a list of {utilities, weight, bt_temperature, group}."""
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(r, dict) and "utilities" in r for r in rows)
    ):
        raise InputError("users must be a list with one {utilities: [...]} for each type of user")
    sizes = {len(r["utilities"]) if isinstance(r["utilities"], list) else -1 for r in rows}
    if len(sizes) > 1:
        raise InputError("users must all have utilities for the same alternatives, in the same order")
    own = [r.get("bt_temperature") for r in rows]
    groups = [r.get("group") for r in rows]
    if any(groups) and not all(groups):
        raise InputError("either every user has a group or none has")
    return {
        "utilities": [r["utilities"] for r in rows],
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
    """The arguments of a `Scenario` from a CSV file: one row a type of user, one column an alternative."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    extra = {"weight", "bt_temperature", "group"} & set(table.columns)
    utilities = table.drop(columns=list(extra))
    words = [c for c in utilities if not pd.api.types.is_numeric_dtype(utilities[c])]
    if words or table.empty:
        raise InputError(
            f"{path}: "
            + (
                f"column {words[0]!r} holds words: every column but weight, bt_temperature and group "
                "is an alternative"
                if words
                else "it holds no rows"
            )
        )
    out: dict[str, Any] = {"utilities": utilities.to_numpy(float), "alternatives": list(utilities.columns)}
    if "weight" in extra:
        out["weights"] = table["weight"].to_numpy(float)
    if "group" in extra:
        out["groups"] = table["group"].astype(str).tolist()
    if "bt_temperature" in extra:
        own = [None if np.isnan(b) else float(b) for b in table["bt_temperature"].to_numpy(float)]
        out |= _temperatures(own, common)
    return out


def spatial_users(given: dict[str, Any], _common: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Scenario` whose users and alternatives lie at random points of a cube."""
    g = {"users": 60, "alternatives": 8, "dimensions": 2, "seed": 0, **given}
    for key, least in (("users", 1), ("alternatives", 2), ("dimensions", 1), ("seed", 0)):
        at_least(f"spatial.{key}", g[key], least)
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
