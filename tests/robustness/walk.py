"""Every public function of a package, one spoilt argument at a time."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tests.robustness.spoilt import Good, optional
from tests.robustness.verdicts import Case


def walk(
    room: str, vocabulary: Good, special: Mapping[str, Good], skipped: Collection[str] = ()
) -> Iterator[Case]:
    """Cases of every function that `room.__all__` names.

    Args:
        room: dotted name of a package.
        vocabulary: good values and ways to spoil them, by the parameter's name.
        special: the same for one function, by its dotted name, where it needs other values.
        skipped: dotted names of functions that are left out.

    Raises:
        KeyError: a parameter has no good value: add it with the function.
    """
    module = importlib.import_module(room)
    for name in module.__all__:
        function, dotted = getattr(module, name), f"{room}.{name}"
        if (
            inspect.ismodule(function)
            or dotted in skipped
            or (inspect.isclass(function) and dotted not in special)
        ):
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
