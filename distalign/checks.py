"""Bad input gets one sentence that names the argument and the remedy.

`InputError` is what every part of distalign raises for a user's mistake; the command line prints its sentence
and leaves with status 2.

The checks below ask what has to hold and refuse what does not, so that NaN, for which no comparison holds, is
refused as well.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class InputError(ValueError):
    """A user's input is out of range, misshapen or missing; the message names the argument and the remedy."""


def positive(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 < value < inf."""
    if not (_is_number(value) and 0 < value < math.inf):
        raise InputError(f"{name} must be a finite number above 0, got {value!r}: {remedy}")


def nonnegative(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 <= value < inf."""
    if not (_is_number(value) and 0 <= value < math.inf):
        raise InputError(f"{name} must be a finite number of at least 0, got {value!r}: {remedy}")


def inside_unit(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 < value < 1."""
    if not (_is_number(value) and 0 < value < 1):
        raise InputError(f"{name} must lie strictly between 0 and 1, got {value!r}: {remedy}")


def above_0(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 < value <= inf."""
    if not (_is_number(value) and value > 0):
        raise InputError(f"{name} must be above 0, got {value!r}: {remedy}")


def at_least_0(name: str, value: float, remedy: str) -> None:
    """Raise unless 0 <= value <= inf."""
    if not (_is_number(value) and value >= 0):
        raise InputError(f"{name} must be at least 0, got {value!r}: {remedy}")


def whole(name: str, value: int, least: int, remedy: str) -> None:
    """Raise unless value is a whole number of at least `least`."""
    if isinstance(value, bool) or not (isinstance(value, numbers.Integral) and value >= least):
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}: {remedy}")


def reals(
    name: str, value: ArrayLike, shape: str, remedy: str, *, infinite: bool = False, sentence: str = ""
) -> NDArray[np.float64]:
    """The argument as a float array that holds no NaN and, unless `infinite`, no infinity.

    Args:
        name: of the argument.
        value: the argument.
        shape: what it should look like, in words, for instance "(m, d)"; as many commas and names are asked
            of its dimensions, and "..." stands for any number of them.
        remedy: what to do about it.
        infinite: whether infinities are values it may have.
        sentence: to say instead of what is wrong in particular.

    Raises:
        InputError: it is no array of numbers, has another number of dimensions or a named dimension of size
            0, or is not finite.

    Example:
        >>> reals("v", [[1, 2]], "(m, d)", "give features").tolist()
        [[1.0, 2.0]]
    """
    import numpy as np  # here and not above: the command line starts without it

    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            sentence or f"{name} must be an array {shape} of numbers, got {_shown(value)}: {remedy}"
        ) from error
    dimensions = [part for part in shape.strip("()").replace(" ", "").split(",") if part]
    least = len(dimensions) - ("..." in dimensions)
    named = array.shape[max(array.ndim - least, 0) :]  # a batch of none is a batch, a law of none is no law
    if array.ndim < least or (array.ndim > least and "..." not in dimensions) or 0 in named:
        raise InputError(
            sentence or f"{name} must be an array {shape} with entries, got shape {array.shape}: {remedy}"
        )
    fine = ~np.isnan(array) if infinite else np.isfinite(array)
    if not fine.all():
        place = tuple(int(k) for k in np.argwhere(~fine)[0])
        where = f" at {', '.join(map(str, place))}" if place else ""
        raise InputError(
            sentence
            or f"{name} must be {'numbers' if infinite else 'finite'}, got {array[place]}{where}: {remedy}"
        )
    return array


def laws(
    name: str,
    value: ArrayLike,
    shape: str,
    remedy: str = "divide counts by their total",
    *,
    above_0: bool = False,
    sentence: str = "",
) -> NDArray[np.float64]:
    """The argument as probabilities: finite, non-negative, of sum 1 over the last axis up to 1e-9.

    Args:
        name, value, shape, remedy, sentence: as in `reals`.
        above_0: whether a probability of 0 is refused, too.

    Raises:
        InputError: as `reals`, or it is no law.

    Example:
        >>> laws("p", [0.5, 0.5], "(..., m)").tolist()
        [0.5, 0.5]
        >>> laws("p", [0.5, 0.6], "(..., m)")
        Traceback (most recent call last):
        distalign.checks.InputError: p must be non-negative and sum to 1 over its last axis, got a sum of 1.1:
        divide counts by their total
    """
    p = reals(name, value, shape, remedy, sentence=sentence)
    rule = f"{name} must be {'positive' if above_0 else 'non-negative'} and sum to 1 over its last axis"
    if not ((p > 0) if above_0 else (p >= 0)).all():
        raise InputError(sentence or f"{rule}, got {p.min():g}: {remedy}")
    wrong = abs(p.sum(-1) - 1)
    if not (wrong <= 1e-9).all():
        raise InputError(sentence or f"{rule}, got a sum of {p.sum(-1).flat[wrong.argmax()]:.12g}: {remedy}")
    return p


def moderate(name: str, value: NDArray[np.float64] | float, remedy: str) -> None:
    """Raise unless the largest size of the numbers is 0 or lies in [1e-100, 1e100].

    Squares of such numbers, and products of two of them, are finite and not 0.
    """
    import numpy as np

    largest = float(np.abs(value).max(initial=0.0))
    if not (largest == 0 or 1e-100 <= largest <= 1e100):
        raise InputError(
            f"{name} is as large as {largest:.3g} and must lie between 1e-100 and 1e100: {remedy}"
        )


def together(**arrays: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The arrays broadcast to one shape.

    Raises:
        InputError: their shapes do not fit; the sentence names them.
    """
    import numpy as np

    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError as error:
        shapes = " and ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(
            f"shapes do not fit, got {shapes}: give one entry each, or leading axes that broadcast"
        ) from error


def _is_number(value: object) -> bool:
    """Whether a value can be compared with a number: one number, and no array or word."""
    if isinstance(value, int | float):
        return True
    size = getattr(value, "numel", None) or (lambda: getattr(value, "size", 0))
    return getattr(value, "dtype", None) is not None and size() == 1 and hasattr(value, "item")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def one_of(name: str, value: str, options: tuple[str, ...] | list[str]) -> None:
    """Raise unless `value` is one of `options`."""
    if not isinstance(value, str) or value not in options:
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


def names_in(text: str | None) -> list[str]:
    """The names in a list with commas.

    Example:
        >>> names_in("q_proj, v_proj"), names_in(None)
        (['q_proj', 'v_proj'], [])
    """
    return [part.strip() for part in (text or "").split(",") if part.strip()]
