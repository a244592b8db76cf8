"""Bad input gets one sentence that names the argument and the remedy.

`InputError` is what every part of distalign raises for a user's mistake; the command line prints its sentence and leaves
with status 2.
"""

from __future__ import annotations

import math


class InputError(ValueError):
    """A user's input is out of range, misshapen or missing; the message names the argument and the remedy."""


def positive(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 < value < inf."""
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a finite number above 0, got {value!r}: {remedy}")


def nonnegative(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 <= value < inf."""
    if not 0 <= value < math.inf:
        raise InputError(f"{name} must be a finite number of at least 0, got {value!r}: {remedy}")


def inside_unit(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 < value < 1."""
    if not 0 < value < 1:
        raise InputError(f"{name} must lie strictly between 0 and 1, got {value!r}: {remedy}")


def one_of(name: str, value: str, options: tuple[str, ...] | list[str]) -> None:
    """Raise unless `value` is one of `options`."""
    if value not in options:
        raise InputError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
