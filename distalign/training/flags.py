"""Command-line flags that override a recipe: its own fields, and the options of the objectives.

Both sets are made from what they override, so that a new field and a new objective have their flags at once.
They are functions because the options are read from the objectives, which need torch.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable
from dataclasses import asdict, field, fields, make_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import arg

from distalign.training.recipe import Recipe
from distalign.training.recipe_checks import named_objective, options_of

_PLAIN = (bool, int, float, str)  # types of values that a flag can give


def given(flags: Any) -> dict[str, Any]:
    """Flags that were set, by name."""
    return {name: value for name, value in asdict(flags).items() if value is not None}


@functools.cache
def overrides() -> type:
    """A dataclass with each field of `Recipe` as a flag that may be left out."""
    hints = {name: hint for name, hint in get_type_hints(Recipe).items() if name != "objective_options"}
    made = make_dataclass(
        "Overrides", [(name, hint | None, field(default=None)) for name, hint in hints.items()], frozen=True
    )
    made.__doc__ = (Recipe.__doc__ or "").split("    Raises:")[0]
    return made


@functools.cache
def options() -> type:
    """A dataclass with each option of any objective as a flag that may be left out.

    Objectives that have an option of the same name share its flag. The type of the flag comes from the
    annotations, its help from the `Args` of the docstrings.

    Example:
        >>> [f.name for f in fields(options())][:3], options()().beta
        (['alpha', 'beta', 'clip'], None)
    """
    from distalign import objectives

    takes: dict[str, list[str]] = {}
    for objective in objectives.names():
        for option in options_of(objective):
            takes.setdefault(option, []).append(objective)
    flags = [
        (option, Annotated[kind | None, arg(help=_help(option, takes[option]))], field(default=None))
        for option in sorted(takes)
        if option not in {f.name for f in fields(Recipe)} and (kind := _kind(option, takes[option]))
    ]
    return make_dataclass("Options", flags, frozen=True)


def _kind(option: str, objectives: list[str]) -> Any:
    """The plain types that any of the objectives takes for an option, as a union; None if there are none."""
    hints = [get_type_hints(named_objective(objective))[option] for objective in objectives]
    kinds = [kind for hint in hints for kind in (get_args(hint) if _is_union(hint) else (hint,))]
    plain = [kind for kind in kinds if kind in _PLAIN or get_origin(kind) is Literal]
    return functools.reduce(operator.or_, plain) if plain else None


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _help(option: str, objectives: list[str]) -> str:
    """What each objective says of an option; objectives that say the same are named together."""
    texts: dict[str, list[str]] = {}
    for objective in objectives:
        texts.setdefault(_text(option, objective), []).append(objective)
    return " ".join(f"{', '.join(names)}: {text}." for text, names in texts.items())


def _text(option: str, objective: str) -> str:
    """What the docstring of an objective says of an option; "as in `other`" is looked up there."""
    text = documented_arguments(named_objective(objective)).get(option, "see its documentation")
    other = re.fullmatch(r"as in `(\w+)`", text)
    return _text(option, other[1]) if other and option in options_of(other[1]) else text


def documented_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """What the `Args` section of a docstring says of each argument, without the last full stop.

    Example:
        >>> documented_arguments(given)
        {}
        >>> from distalign.objectives import dpo
        >>> list(documented_arguments(dpo))
        ['batch', 'beta']
    """
    section = re.search(r"^Args:\n((?: +.*\n|\n)*)", (inspect.getdoc(function) or "") + "\n", re.MULTILINE)
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", "\n" + section[1].rstrip() if section else ""):
        names, _, text = entry.partition(": ")
        texts |= dict.fromkeys(names.replace(" ", "").split(","), " ".join(text.split()).removesuffix("."))
    texts.pop("", None)
    return texts
