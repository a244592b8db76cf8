"""Planted defects: mistakes in the code under test on which the checks of a claim must fail.

A check that cannot fail shows nothing. Each study lists mistakes that a careless developer could have made in
the code that it tests: a radius 5 % too large, one side left unsorted, a mean over n instead of n - 1. A
defect replaces one function of distalign by a wrong one, wherever that function has been imported to, while
cells of the study are computed and while its rows are judged. Every check of the study must pass without the
defects and fail under at least one of them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

Function = Callable[..., Any]


def _every_cell(arguments: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Defect:
    """One function replaced by a wrong one.

    Attributes:
        text: what is wrong, as a clause: "the radius 5 % too large".
        of: the function that is replaced: a function or method, in whatever decorators it stands.
        wrong: takes the right function and returns the wrong one, as `argument` and `result` make them.
        cells: whether a cell with these arguments is computed anew; the rows of all other cells are those
            without the defect. By default every cell is. A defect in a prediction, which is computed where
            rows are judged, needs none: `no_cell`.

    Example:
        >>> from distalign.theory.robust.kldpo import shrinkage_factor
        >>> defect = Defect("the factor 5 % too large", shrinkage_factor, result(lambda x: 1.05 * x))
        >>> with planted(defect):
        ...     round(float(shrinkage_factor(1.0)), 3)
        0.525
        >>> float(shrinkage_factor(1.0))
        0.5
    """

    text: str
    of: Function
    wrong: Callable[[Function], Function]
    cells: Callable[[Mapping[str, Any]], bool] = _every_cell


def where(**wanted: Any) -> Callable[[Mapping[str, Any]], bool]:
    """The choice of the cells whose arguments have these values; a set stands for any one of its values.

    Example:
        >>> chosen = where(method={"DPO", "KLDPO"}, size=100)
        >>> chosen({"method": "DPO", "size": 100, "seed": 3}), chosen({"method": "DPO", "size": 200})
        (True, False)
    """

    def chosen(arguments: Mapping[str, Any]) -> bool:
        return all(
            arguments.get(name) in value if isinstance(value, set) else arguments.get(name) == value
            for name, value in wanted.items()
        )

    return chosen


def no_cell(arguments: Mapping[str, Any]) -> bool:
    """The choice of cells of a defect that changes no row, but what rows are compared with."""
    return False


def argument(name: str, change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """A wrong function that is given `change(value)` in place of the argument `name`.

    Example:
        >>> def power(x, *, n=2):
        ...     return x**n
        >>> argument("n", lambda n: n + 1)(power)(2)
        8
    """

    def wrong(right: Function) -> Function:
        signature = inspect.signature(right)
        if name not in signature.parameters:
            raise TypeError(
                f"{right.__name__} has no argument {name}: it has {', '.join(signature.parameters)}"
            )

        @functools.wraps(right)
        def changed(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            given.arguments[name] = change(given.arguments[name])
            return right(*given.args, **given.kwargs)

        return changed

    return wrong


def result(change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """A wrong function that returns `change(value)` in place of its value."""

    def wrong(right: Function) -> Function:
        @functools.wraps(right)
        def changed(*args: Any, **kwargs: Any) -> Any:
            return change(right(*args, **kwargs))

        return changed

    return wrong


@contextlib.contextmanager
def planted(defect: Defect) -> Iterator[None]:
    """Replace the function of `defect` by the wrong one inside a `with` block.

    The code of the function object itself is exchanged, so every name, partial and table that holds it calls
    the wrong one. Results that distalign has cached are forgotten on entry and on exit.

    Raises:
        TypeError: the function is built in, or closes over variables of another one, so that its code cannot
            be exchanged.
    """
    function = inspect.unwrap(defect.of)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType) or function.__code__.co_freevars:
        raise TypeError(
            f"defect {defect.text!r}: {function!r} is no plain function, plant it in one that it calls"
        )
    right = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    right.__kwdefaults__ = function.__kwdefaults__
    code, key = function.__code__, f"{function.__module__}.{function.__qualname__}"
    if key in _PLANTED:
        raise TypeError(f"{key} has a planted defect already")
    _PLANTED[key] = defect.wrong(right)
    constants = tuple(key if c == "key of the function" else c for c in _call_wrong.__code__.co_consts)
    signature = inspect.signature(function)
    try:
        _forget()
        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__code__ = _call_wrong.__code__.replace(co_consts=constants)
        yield
    finally:
        function.__code__ = code
        del function.__signature__, _PLANTED[key]  # type: ignore[attr-defined]
        _forget()


_PLANTED: dict[str, Function] = {}


def _call_wrong(*args: Any, **kwargs: Any) -> Any:
    from distalign.simulation import defects

    return defects._PLANTED["key of the function"](*args, **kwargs)


def _forget() -> None:
    """Clear each cache of distalign, but those that hold digests of source code."""
    for name, module in list(sys.modules.items()):
        if name.startswith("distalign.") and name != "distalign.simulation.source":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
