"""Recipes as files: YAML, the flags that override it, and the recipes that come with distalign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from distalign.checks import InputError, suggestion
from distalign.inputs import read_yaml
from distalign.training.recipe import Recipe
from distalign.training.recipe_checks import options_of
from distalign.training.recipe_online import OnlineRecipe, is_online, refuse_sampling

_FOLDER = Path(__file__).with_name("recipes")
_FIELDS = tuple(f.name for f in fields(OnlineRecipe))  # those of `Recipe`, and more
_ONLY_ONLINE = sorted(set(_FIELDS) - {f.name for f in fields(Recipe)})
_NEEDED = tuple(f.name for f in fields(Recipe) if f.default is MISSING and f.default_factory is MISSING)


def read(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file, or of that name, with some values replaced.

    It is an `OnlineRecipe` where it names a reward or a preference, or an objective that needs one.

    Args:
        path: a file, or the name of a shipped recipe.
        overrides: values by name: fields of `OnlineRecipe`, or options of the objective. Where they name
            another objective, options of the file that it does not have are dropped.

    Raises:
        InputError: no such file, no YAML mapping, an unknown or doubled key, a missing one, or a value that
            `Recipe` refuses.

    Example:
        >>> read("smollm2_dpo", {"beta": 0.3, "max_steps": 5}).objective_options
        {'beta': 0.3}
    """
    path = located(path)
    values, given = read_yaml(path), dict(overrides or {})
    online = is_online(values | given)
    if online:
        refuse_sampling(values | given, str(path))
    _check_keys(values, _FIELDS, str(path), values.get("objective"))
    options = _mapping(values.pop("objective_options", None), str(path))
    objective = given.get("objective", values.get("objective"))
    if not isinstance(objective, str):
        raise InputError(f"{path} names no objective: add `objective: dpo`, or another one")
    takes = options_of(objective)
    if objective != values.get("objective"):
        options = {name: value for name, value in options.items() if name in takes}
    options |= _mapping(given.pop("objective_options", None), "the command line")
    _check_keys(given, (*_FIELDS, *takes), "the command line", objective)
    options |= {name: given.pop(name) for name in list(given) if name in takes and name not in _FIELDS}
    values |= given
    missing = [name for name in _NEEDED if values.get(name) is None]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: add it, or give it as --{missing[0]}")
    if online:
        return OnlineRecipe(**values, objective_options=options)
    if found := [name for name in _ONLY_ONLINE if values.get(name) is not None]:
        raise InputError(
            f"{path}: {found[0]} is for texts that the policy writes, but neither reward nor preference is "
            "given: give one of them, or leave it out"
        )
    return Recipe(
        **{name: value for name, value in values.items() if name not in _ONLY_ONLINE},
        objective_options=options,
    )


def shipped() -> dict[str, Path]:
    """The recipes that come with distalign, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def located(recipe: str | Path) -> Path:
    """The file of a recipe given as a path or as a shipped name.

    Raises:
        InputError: neither is there.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    names = shipped()
    if path.name != str(recipe) or path.suffix or str(recipe) not in names:
        near = suggestion(path.stem, names) if names else "none is shipped"
        raise InputError(
            f"no recipe {str(recipe)!r}: give a YAML file or a shipped name ({near}); `distalign recipes ls` "
            "lists them"
        )
    return names[str(recipe)]


def summary(path: Path) -> str:
    """The first comment line of a recipe: what it is."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping | None):
        raise InputError(
            f"{where}: objective_options must be a mapping of names to values such as {{beta: 0.1}}, got "
            f"{str(value)[:60]!r}"
        )
    return dict(value or {})


def _check_keys(values: Mapping[str, Any], allowed: tuple[str, ...], where: str, objective: object) -> None:
    for name in values:
        if name in allowed:
            continue
        if isinstance(objective, str) and name in options_of(objective):
            raise InputError(
                f"{where}: {name} is an option of {objective}: put it under `objective_options:`"
            )
        raise InputError(f"{where}: unknown key {name!r}: {suggestion(str(name), allowed)}")
