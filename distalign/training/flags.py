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

from tyro.conf import FlagConversionOff, arg
from tyro.constructors import PrimitiveConstructorSpec

from distalign.training.recipe import Recipe
from distalign.training.recipe_checks import ON_OWN_TEXTS, named_objective, options_of
from distalign.training.recipe_online import OnlineRecipe

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "none": None}


def _switch(*others: str) -> PrimitiveConstructorSpec[bool | str | None]:
    """How a switch is read: the flag alone sets it, and its value may be written as YAML and TRL write it.

    Args:
        others: words that are values, too.
    """

    def read(words: list[str]) -> bool | str | None:
        word = words[0].lower() if words else "true"
        if word not in (*_WORDS, *others):
            raise ValueError(f"it must be {' or '.join(('true', 'false', *others))}, got {words[0]!r}")
        return word if word in others else _WORDS[word]

    return PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="|".join(("true", "false", *others)),
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, bool) or value in others,
        str_from_instance=lambda value: [str(value).lower()],
    )


def _listed(known: tuple[str, ...]) -> PrimitiveConstructorSpec[Any]:
    """How one of some words, or several with commas between, are read."""

    def read(words: list[str]) -> str | list[str]:
        given = [word.strip() for word in words[0].split(",")]
        if wrong := [word for word in given if word not in known]:
            raise ValueError(f"it must be of {', '.join(known)}, with commas between, got {wrong[0]!r}")
        return given[0] if len(given) == 1 else given

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(known)}}}[,...]",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, str | list),
        str_from_instance=lambda value: [",".join(value) if isinstance(value, list) else str(value)],
    )


Switch = Annotated[bool, FlagConversionOff, _switch()]
"""A flag that is given alone, or with true or false."""

PerhapsSwitch = Annotated[bool | None, FlagConversionOff, _switch()]
"""The same, left open unless it is given."""

_PLAIN = (bool, int, float, str)  # types of values that a flag can give


NONE = ("none", "null")
"""The words that take a value of the recipe away: YAML writes the second."""


def given(flags: Any) -> dict[str, Any]:
    """Flags that were set, by name, whatever group they stand in; `--eval-data none` sets None.

    Example:
        >>> given(overrides()(eval_data="none", reward="null", seed=3))
        {'eval_data': None, 'seed': 3, 'reward': None}
    """
    values: dict[str, Any] = {}
    for name, value in asdict(flags).items():
        values |= value if isinstance(value, dict) else {name: value}
    set_now = {name: value for name, value in values.items() if value is not None}
    away = {name for name, value in set_now.items() if name in _leaves_out() and value in NONE}
    return {name: None if name in away else value for name, value in set_now.items()}


@functools.cache
def _leaves_out() -> frozenset[str]:
    """Fields of a recipe that may be None and are text otherwise."""
    hints = get_type_hints(OnlineRecipe)
    return frozenset(name for name, hint in hints.items() if {str, type(None)} <= set(get_args(hint)))


@functools.cache
def overrides() -> type:
    """A dataclass with each field of `OnlineRecipe`, which has those of `Recipe`, as a flag that may be left
    out.
    """
    told = documented_arguments(Recipe, "Attributes") | documented_arguments(OnlineRecipe, "Attributes")
    flags = [
        (name, Annotated[_open(hint), arg(help=f"{told[name]}.", help_behavior_hint=_OF_RECIPE)])
        for name, hint in get_type_hints(OnlineRecipe).items()
        if name != "objective_options"
    ]
    return make_dataclass("Overrides", [(*flag, field(default=None)) for flag in flags], frozen=True)


_OF_RECIPE = "(default: the recipe's)"

_GROUPS = {
    "model": "recipe",
    "max_length": "data",
    "dtype": "model",
    "lora_rank": "adapter",
    "learning_rate": "optimiser",
    "per_device_train_batch_size": "batch",
    "parallel": "run",
    "reward": "own_texts",
}
"""The first field of each group of flags: a recipe's fields stand in the order of their groups."""


@functools.cache
def grouped() -> type:
    """`overrides` in groups, which help shows one below the other; no flag has the name of its group.

    Example:
        >>> [f.name for f in fields(grouped())]
        ['recipe', 'data', 'model', 'adapter', 'optimiser', 'batch', 'run', 'own_texts']
    """
    groups: list[tuple[str, list[Any]]] = []
    for flag in fields(overrides()):
        if flag.name in _GROUPS:
            groups.append((_GROUPS[flag.name], []))
        groups[-1][1].append((flag.name, flag.type, field(default=None)))
    kinds = {title: make_dataclass(title, flags, frozen=True) for title, flags in groups}
    made = [(title, kind, field(default=kind())) for title, kind in kinds.items()]
    return make_dataclass("Grouped", made, frozen=True)


def _open(hint: Any) -> Any:
    """The type of a flag that may be left out."""
    kinds = get_args(hint) if _is_union(hint) else (hint,)
    if lists := [kind for kind in kinds if get_origin(kind) is list]:
        return Annotated[hint | None, _listed(get_args(get_args(lists[0])[0]))]
    if bool not in kinds:
        return hint | None
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return Annotated[hint | None, FlagConversionOff, _switch(*words)]


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
    for objective in (*objectives.names(), *ON_OWN_TEXTS):
        for option in options_of(objective):
            takes.setdefault(option, []).append(objective)
    flags = [
        (option, Annotated[kind | None, _of_objective(option, takes[option])], field(default=None))
        for option in sorted(takes)
        if option not in {f.name for f in fields(OnlineRecipe)} and (kind := _kind(option, takes[option]))
    ]
    return make_dataclass("Options", flags, frozen=True)


def _of_objective(option: str, objectives: list[str]) -> Any:
    """How an option is shown: what each objective says of it, and where it is from if it is not given."""
    own = "(default: the recipe's, else the objective's)"
    return arg(help=_help(option, objectives), help_behavior_hint=own)


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


def documented_arguments(function: Callable[..., Any], section: str = "Args") -> dict[str, str]:
    """What a section of a docstring says of each argument, without the last full stop.

    Args:
        function: a function, or a class for its `Attributes`.
        section: its title.

    Example:
        >>> documented_arguments(given)
        {}
        >>> from distalign.objectives import dpo
        >>> list(documented_arguments(dpo))
        ['batch', 'beta']
    """
    found = re.search(rf"^{section}:\n((?: +.*\n|\n)*)", f"{inspect.getdoc(function) or ''}\n", re.MULTILINE)
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", "\n" + found[1].rstrip() if found else ""):
        names, _, text = entry.partition(": ")
        texts |= dict.fromkeys(names.replace(" ", "").split(","), " ".join(text.split()).removesuffix("."))
    texts.pop("", None)
    return texts
