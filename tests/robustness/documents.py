"""Bad recipes, populations, sweeps and methods: every key with every kind of value that YAML can hold."""

from __future__ import annotations

import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from distalign.pluralism import build, parse_methods
from distalign.pluralism import read as read_population
from distalign.pluralism.grid import parse_sweeps
from distalign.pluralism.scenario import Scenario
from distalign.training.recipe import Recipe
from distalign.training.recipe_file import read as read_recipe
from distalign.training.recipe_online import OnlineRecipe
from tests.robustness.verdicts import Case

_NAMES = "abcdefg"
_LEVELS = ["&a [x, x, x, x, x, x, x, x, x, x]"] + [
    f"&{name} [{', '.join([f'*{below}'] * 10)}]" for below, name in pairwise(_NAMES)
]
VALUES = {
    "inf": ".inf",
    "-inf": "-.inf",
    "nan": ".nan",
    "zero": "0",
    "negative": "-7",
    "half": "1.5",
    "huge": "1e300",
    "5,000 digits": "9" * 5000,
    "text": "wrong",
    "unicode": r'"\u0664 \U0001F600"',
    "half a surrogate": r'"\ud800"',
    "empty": '""',
    "list": "[]",
    "ragged": "[[1, 2], [3]]",
    "mapping": "{a: 1}",
    "true": "true",
    "null": "null",
    "date": "2020-01-01",
    "no date": "2020-13-45",
    "bytes": "!!binary aGk=",
    "object": "!!python/object/apply:os.getcwd []",
    "deep": "[" * 3000 + "]" * 3000,
    "aliases": f"[{', '.join(_LEVELS)}]",
    "circle": "&z [*z]",
}
"""What YAML can write for a value."""
_STRUCTURES = {"list", "ragged", "mapping", "date", "no date", "bytes", "object", "deep", "aliases", "circle"}
_WORDS = {"text", "unicode", "half a surrogate", "empty"}
_NUMBERS = {"inf", "-inf", "nan", "zero", "negative", "half", "huge", "5,000 digits"}
WRONG: dict[Any, set[str]] = {
    float: _STRUCTURES | _WORDS | {"inf", "-inf", "nan", "true", "5,000 digits"},
    int: _STRUCTURES | _WORDS | {"inf", "-inf", "nan", "half", "true", "5,000 digits"},
    str: _STRUCTURES | _NUMBERS | {"empty", "true"},
    bool: _STRUCTURES | _WORDS | _NUMBERS,
    list: set(VALUES) - {"list", "null"},
    dict: (_STRUCTURES - {"mapping", "list"}) | (_WORDS - {"empty"}) | _NUMBERS | {"true"},
}
"""Values that a field of this type cannot take, whatever its range."""


def wrong_for(hint: Any) -> set[str]:
    """The values that no type of a field takes."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    found = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            found.append(set(VALUES) - {"null"})
        elif kind is not type(None):
            found.append(WRONG[get_origin(kind) or kind])
    return set.intersection(*found)


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="robustness"))


def _of_text(text: str, call: Callable[[Path], Any], name: str = "file.yaml") -> Callable[[], Any]:
    def made() -> Any:
        path = _folder() / name
        path.write_text(text, encoding="utf-8")
        return call(path)

    return made


def _text(values: dict[str, Any], key: str, value: str) -> str:
    lines = [
        f"{name}: {yaml.safe_dump(v, default_flow_style=True, width=10**6).splitlines()[0]}"
        for name, v in values.items()
        if name != key
    ]
    return "\n".join([*lines, f"{key}: {value}"]) + "\n"


OFFLINE = {"model": "m", "objective": "dpo", "objective_options": {"beta": 0.1}, "train_data": "d.jsonl"}
ONLINE = OFFLINE | {"objective": "rlhf", "reward": "length"}


def recipe_cases() -> Iterator[Case]:
    """Every key of a recipe, and of one for online training, with every value."""
    offline = {field.name for field in fields(Recipe)}
    for made, good in ((Recipe, OFFLINE), (OnlineRecipe, ONLINE)):
        hints = get_type_hints(made)
        for key, hint in hints.items():
            if made is OnlineRecipe and key in offline:
                continue
            for label, value in VALUES.items():
                needed = key in good or made.__dataclass_fields__[key].default is MISSING
                call = _of_text(_text(good, key, value), lambda path: read_recipe(path) and None)
                invalid = label in wrong_for(hint) or (
                    label == "null" and needed and key != "objective_options"
                )
                yield Case(f"recipe.{made.__name__}", key, label, call, invalid)
    for option in ("beta", "label_smoothing", "unknown", "3"):
        for label, value in VALUES.items():
            text = _text(
                OFFLINE,
                "objective_options",
                f"{{beta: 0.1, {option}: {value}}}" if option != "beta" else f"{{beta: {value}}}",
            )
            call = _of_text(text, lambda path: read_recipe(path) and None)
            yield Case(
                "recipe.objective_options",
                option,
                label,
                call,
                label in WRONG[float] or option in ("unknown", "3"),
            )


USERS = [
    {"utilities": [1.0, 0.0, 0.6], "weight": 2, "group": "a"},
    {"utilities": [0.0, 1.0, 0.5], "weight": 1, "group": "b"},
]
PLAIN: dict[str, Any] = {
    "name": "p",
    "alternatives": ["x", "y", "z"],
    "users": USERS,
    "bt_temperature": 5,
    "kl_budget": 0.5,
}
SPATIAL: dict[str, Any] = {"spatial": {"users": 6, "alternatives": 4, "dimensions": 2, "seed": 0}}
_COUNT = WRONG[int] | {"negative"}
_POSITIVE = WRONG[float] | {"zero", "negative"}
_LISTS = _STRUCTURES | _WORDS | _NUMBERS | {"true"}
POPULATION_KEYS: dict[str, set[str]] = {
    "name": _STRUCTURES | {"deep"},
    "alternatives": _LISTS,
    "users": _LISTS | {"null"},
    "bt_temperature": _POSITIVE,
    "pairs": _LISTS,
    "reference": _LISTS,
    "log_reference": _LISTS,
    "kl_budget": (WRONG[float] - {"inf"}) | {"negative"},
    "lambda": _POSITIVE,
    "n": _COUNT | {"zero"},
    "comparisons_per_user": _COUNT | {"zero"},
    "people": _COUNT | {"zero"},
}
USER_KEYS = {
    "utilities": _LISTS | {"null"},
    "weight": _POSITIVE,
    "bt_temperature": _POSITIVE,
    "group": _STRUCTURES - {"date", "no date"} | {"null"},
}
SPATIAL_KEYS = {key: _COUNT | {"zero", "null"} for key in ("users", "alternatives", "dimensions")} | {
    "seed": _COUNT | {"null"}
}


def _population(path: Path) -> Any:
    scenario = build(read_population(path))
    return np.append(
        scenario.win.ravel(),
        [scenario.kl_budget if np.isfinite(scenario.kl_budget) else 0.0, *scenario.log_reference],
    )


def population_cases() -> Iterator[Case]:
    """Every key of a population with every value."""
    for key, wrong in POPULATION_KEYS.items():
        for label, value in VALUES.items():
            good = {k: v for k, v in PLAIN.items() if (k, key) != ("kl_budget", "lambda")}
            yield Case(
                "population", key, label, _of_text(_text(good, key, value), _population), label in wrong
            )
    for key, wrong in USER_KEYS.items():
        for label, value in VALUES.items():
            user = yaml.safe_dump(
                {k: v for k, v in USERS[0].items() if k != key}, default_flow_style=True, width=10**6
            ).strip()
            other = yaml.safe_dump(USERS[1], default_flow_style=True).strip()
            users = f"[{user[:-1]}, {key}: {value}}}, {other}]"
            yield Case(
                "population.users",
                key,
                label,
                _of_text(_text(PLAIN, "users", users), _population),
                label in wrong,
            )
    for key, wrong in SPATIAL_KEYS.items():
        for label, value in [*VALUES.items(), ("too many", "1000000000000000")]:
            inner = ", ".join(f"{k}: {v}" for k, v in SPATIAL["spatial"].items() if k != key)
            text = f"spatial: {{{inner}, {key}: {value}}}\n"
            yield Case("population.spatial", key, label, _of_text(text, _population), label in wrong)


SWEEPS = (
    "",
    "=",
    "n",
    "n=",
    "=1",
    "n=a",
    "n=nan",
    "n=inf:1:3",
    "n=1:2",
    "n=1:2:3:4",
    "n=1:2:0",
    "n=1:2:-1",
    "n=1:2:1.5",
    "n=1:2:x",
    "n=log:0:1:3",
    "n=log:-1:1:3",
    "n=log:1:inf:3",
    "n=log:",
    "n=log:1",
    "n=1:2:1000000000000000",
    "kl_budget=1,,2",
    "kl_budget=1;2",
    "kl_budget=\u0661:\u0662:x",
    "kl_budget=" + "9" * 5000 + "x",
    "n=0.5",
    "n=1,1",
    "kl_budget=nan,1",
    "\ud800=1:2",
)
METHODS = (
    "",
    "nothing",
    "dpo:beta",
    "dpo:beta=",
    "dpo:beta=nan",
    "dpo:beta=-1",
    "dpo:beta=text",
    "dpo:x=1",
    "no.such:rule",
    "Borda:x=1",
    "\ud800",
    "f_dpo:divergence=none",
    "kldpo:radius=inf",
    "dpo:beta=1e-400",
)


def word_cases() -> Iterator[Case]:
    """Words of the command line that stand for grids and methods; none of them is right."""
    scenario = Scenario([[1.0, 0.0], [0.2, 0.9]])
    for word in SWEEPS:
        yield Case("parse_sweeps", "words", repr(word)[:40], lambda w=word: bool(parse_sweeps([w])), True)
    for word in METHODS:
        yield Case(
            "parse_methods",
            "words",
            repr(word)[:40],
            lambda w=word: bool(parse_methods([w], [scenario])),
            True,
        )


def document_cases() -> Iterator[Case]:
    """All of them."""
    yield from recipe_cases()
    yield from population_cases()
    yield from word_cases()
