"""Every public function of a package, one spoilt argument at a time.

Public is what `__all__` names, and what a module whose name has no underscore defines under such a name. Of
the solvers, whose modules share functions that take what was checked before, it is what `__all__` names and
what other packages of distalign import.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import distalign
from tests.robustness.spoilt import Good, optional
from tests.robustness.verdicts import Case


def walk(
    room: str, vocabulary: Good, special: Mapping[str, Good], skipped: Collection[str] = ()
) -> Iterator[Case]:
    """Cases of every public function of a package.

    Args:
        room: dotted name of a package.
        vocabulary: good values and ways to spoil them, by the parameter's name.
        special: the same for one function, by its dotted name, where it needs other values.
        skipped: dotted names of functions that are left out.

    Raises:
        KeyError: a parameter has no good value: add it with the function.
    """
    for name, function in public(room).items():
        dotted = f"{room}.{name}"
        if dotted in skipped or (inspect.isclass(function) and dotted not in special):
            continue
        good = vocabulary | special.get(dotted, {})
        parameters = inspect.signature(function).parameters
        for parameter in parameters:
            value, spoil = good[parameter]
            if parameters[parameter].default is None:
                spoil = optional(spoil)
            for label, spoilt, invalid in spoil(value):
                arguments = {key: good[key][0] for key in parameters} | {parameter: spoilt}
                if name == "fit" and parameter != "norm":
                    arguments.pop("norm")
                yield Case(dotted, parameter, label, bound(function, arguments), invalid)


def public(room: str) -> dict[str, Callable[..., Any]]:
    """Functions and classes of a package by their names.

    Raises:
        ValueError: two of them have one name.
    """
    package = importlib.import_module(room)
    named = {name: getattr(package, name) for name in package.__all__}
    out = {name: thing for name, thing in named.items() if callable(thing)}
    for name, thing in imported_elsewhere(room) if room.startswith("distalign.solvers") else defined(package):
        if out.setdefault(name, thing) is not thing:
            raise ValueError(f"{room} has two functions named {name}")
    return out


def defined(package: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """What the public modules of a package define under a public name."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "._" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__
            if own and not name.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing)):
                yield name, thing


def imported_elsewhere(room: str) -> Iterator[tuple[str, Any]]:
    """What other packages of distalign import from the modules of a package of solvers."""
    root = Path(distalign.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.is_relative_to(root / "solvers"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[0] == room:
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    thing = getattr(module, alias.name)
                    if callable(thing) and not alias.name.startswith("_"):
                        yield alias.name, thing


def bound(function: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    """The call, with the first item of what a generator gives."""

    def call() -> Any:
        out = function(
            **{key: value() if isinstance(value, Fresh) else value for key, value in arguments.items()}
        )
        return next(out) if isinstance(out, types.GeneratorType) else out

    return call


class Fresh:
    """An argument that is made anew for each call, such as a random generator."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __call__(self) -> Any:
        return self.make()
