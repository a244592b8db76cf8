"""Packages whose public names are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, names: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports a public name when it is first asked for.

    A package lists its names three times: here for the interpreter, below `TYPE_CHECKING` for type checkers
    and editors, and in `__all__`; tests/test_public_names.py compares the lists.

    Args:
        package: dotted name of the package.
        names: public names by the dotted module that defines them.
        modules: modules and packages directly inside the package that are public themselves.

    Example:
        >>> load, listed = lazy("distalign", {"distalign.checks": ["InputError"]}, ["claims"])
        >>> load("InputError").__module__, load("claims").__name__, "claims" in listed()
        ('distalign.checks', 'distalign.claims', True)
    """
    module_of = {name: module for module, several in names.items() for name in several}
    inside = frozenset(modules)

    def load(name: str) -> Any:
        if name in module_of:
            value = getattr(import_module(module_of[name]), name)
        elif name in inside:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *inside})

    return load, listed
