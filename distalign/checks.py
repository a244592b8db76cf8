"""Bad input gets one sentence that names the argument and the remedy.

`InputError` is what every part of distalign raises for a user's mistake; the command line prints its sentence
and leaves with status 2.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


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


def suggestion(word: str, known: Iterable[str], *, shown: int = 12) -> str:
    """What to say after an unknown word: the known words that are nearest to it, or else the first of them
    all.

    Args:
        word: what the user wrote.
        known: the words that would have been understood.
        shown: how many of them to list where none is near.

    Example:
        >>> suggestion("bata", ["beta", "margin"]), suggestion("x", ["beta", "margin"])
        ('did you mean beta?', 'known are beta, margin')
    """
    names = list(known)
    near = difflib.get_close_matches(word, names, 3, 0.45)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "there are none"
    return f"known are {', '.join(names[:shown])}{', ...' if len(names) > shown else ''}"
