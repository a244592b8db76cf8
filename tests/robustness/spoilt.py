"""Ways to spoil a value: (label, value, whether no answer can be right)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

nan, inf, denormal = np.nan, np.inf, 5e-324

Spoilt = Iterator[tuple[str, Any, bool]]
Good = dict[str, tuple[Any, Callable[[Any], Spoilt]]]
"""A good value and the ways to spoil it, by the parameter's name."""


def entry(array: np.ndarray, value: float) -> np.ndarray:
    out = np.array(array, float)
    out.flat[out.size // 2] = value
    return out


def _misshapen(array: np.ndarray) -> Spoilt:
    yield "one entry less", array[:-1], True
    yield "empty", array[:0], True
    yield "a number", 0.5, True
    yield "text", "text", True
    yield "none", None, True
    yield "ragged", [[1.0], [1.0, 2.0]], True


def reals(array: np.ndarray) -> Spoilt:
    """Any finite numbers."""
    yield "nan", entry(array, nan), True
    yield "inf", entry(array, inf), True
    yield "-inf", entry(array, -inf), True
    yield "all nan", np.full_like(array, nan), True
    for label, value in (("denormal", denormal), ("huge", 1e300), ("tiny", 1e-300), ("zero", 0.0)):
        yield label, entry(array, value), False
    yield "all zero", np.zeros_like(array), False
    yield "all equal", np.ones_like(array), False
    yield "all huge", array * 1e300, False
    yield "all tiny", array * 1e-300, False
    yield from _misshapen(array)


def vector(array: np.ndarray) -> Spoilt:
    """A vector that needs no fellow of its length."""
    yield from ((label, value, bad) for label, value, bad in reals(array) if label != "one entry less")


def law(array: np.ndarray) -> Spoilt:
    """Probabilities."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("huge", 1e300), ("negative", -0.1)):
        yield label, entry(array, value), True
    negative = array.copy()
    negative[array.argmax()], negative[array.argmin()] = array.max() + 1, array.min() - 1
    yield "negative of sum 1", negative, True
    yield "sum 1.1", array * 1.1, True
    yield "sum 0", array * 0, True
    yield "all denormal", np.full_like(array, denormal), True
    yield "point", np.eye(len(array))[0], False
    if len(array) > 1:
        moved = array.copy()
        moved[0], moved[1] = moved[0] + moved[1] - denormal, denormal
        yield "denormal", moved, False
        zero = array.copy()
        zero[0], zero[1] = zero[0] + zero[1], 0
        yield "zero", zero, False
    yield from _misshapen(array)


def lone_law(array: np.ndarray) -> Spoilt:
    """Probabilities of as many alternatives as there are."""
    return ((label, value, bad) for label, value, bad in law(array) if label != "one entry less")


def weights(array: np.ndarray) -> Spoilt:
    """Relative frequencies of any sum."""
    return ((label, value, bad and label != "sum 1.1") for label, value, bad in law(array))


def log_law(array: np.ndarray) -> Spoilt:
    """Log-probabilities of full support."""
    for label, value in (("nan", nan), ("inf", inf), ("huge", 1e300)):
        yield label, entry(array, value), True
    yield "sum e", array + 1, True
    yield "sum 0", array - 1e6, True
    yield from _misshapen(array)


def win(array: np.ndarray) -> Spoilt:
    """A matrix with P + P' = 1."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("huge", 1e300), ("negative", -0.1)):
        yield label, entry(array, value), True
    yield "no sum 1", array + 0.1, True
    out = array.copy()
    out[0, 1], out[1, 0] = 1.5, -0.5
    yield "above 1", out, True
    yield "certain", np.where(array > 0.5, 1.0, np.where(array < 0.5, 0.0, 0.5)), False
    yield "ties", np.full_like(array, 0.5), False
    yield "no square", array[:, :-1], True
    yield from _misshapen(array)


def counts(array: np.ndarray) -> Spoilt:
    """Counts of wins."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0)):
        yield label, entry(array, value), True
    yield "huge", entry(array, 1e300), False
    yield "all zero", array * 0, True
    yield "no square", array[:, :-1], True
    yield from _misshapen(array)


def cost(array: np.ndarray) -> Spoilt:
    """A symmetric matrix of distances."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0), ("lopsided", 7.0)):
        out = array.copy()
        out[0, -1] = value
        yield label, out, True
    yield "diagonal", array + 1, True
    yield "no square", array[:, :-1], True
    yield "all zero", array * 0, False
    yield "all huge", array * 1e300, False
    yield "all tiny", array * 1e-300, False
    yield from ((label, value, bad) for label, value, bad in _misshapen(array) if label != "none")


def words() -> Spoilt:
    yield "text", "text", True
    yield "list", ["a"], True
    yield "empty", [], False  # a batch of no problems has no answers; where one number is asked, a sentence
    yield "nan", nan, True
    yield "-inf", -inf, True


def positive(value: float) -> Spoilt:
    """A number above 0."""
    yield from words()
    yield "zero", 0.0, True
    yield "negative", -1.0, True
    for label, number in (("tiny", 1e-300), ("denormal", denormal), ("huge", 1e300)):
        yield label, number, False
    yield "inf", inf, False


def nonnegative(value: float) -> Spoilt:
    """A number of at least 0."""
    yield from ((label, number, bad and label != "zero") for label, number, bad in positive(value))


def unit(value: float) -> Spoilt:
    """A number strictly between 0 and 1."""
    yield from words()
    for label, number in (("zero", 0.0), ("one", 1.0), ("negative", -0.1), ("above 1", 1.1), ("inf", inf)):
        yield label, number, True
    for label, number in (("denormal", denormal), ("almost 1", 1 - 1e-16)):
        yield label, number, False


def half_unit(value: float) -> Spoilt:
    """A number in [0, 1/2)."""
    yield from words()
    for label, number in (("negative", -0.1), ("half", 0.5), ("inf", inf)):
        yield label, number, True
    for label, number in (("zero", 0.0), ("denormal", denormal)):
        yield label, number, False


def up_to_half_unit(value: float) -> Spoilt:
    """A number in [0, 1/2]."""
    yield from words()
    for label, number in (("negative", -0.1), ("above half", 0.6), ("inf", inf)):
        yield label, number, True
    for label, number in (("zero", 0.0), ("half", 0.5), ("denormal", denormal)):
        yield label, number, False


def level(value: float) -> Spoilt:
    """A number between two others."""
    yield from words()
    for label, number in (("inf", inf), ("huge", 1e300), ("too low", -5.0), ("none", None)):
        yield label, number, True


def choice(value: str) -> Spoilt:
    """One of a few words."""
    for label, word in (("unknown", "unknown"), ("nan", nan), ("number", 3), ("list", []), ("empty", "")):
        yield label, word, True


def whole(value: int) -> Spoilt:
    """A whole number."""
    yield from ((label, number, bad) for label, number, bad in words())
    for label, number in (("half", 1.5), ("inf", inf)):
        yield label, number, True


def sizes(kind: Callable[[Any], Spoilt]) -> Callable[[Any], Spoilt]:
    """A kind of number at large and small sizes as well, which no check of the range alone refuses."""

    def spoil(value: Any) -> Spoilt:
        yield from kind(value)
        for size in (1e60, 1e12, 1e6, 1e-6, 1e-12, 1e-60):
            yield f"times {size:g}", value * size, False

    return spoil


def optional(kind: Callable[[Any], Spoilt]) -> Callable[[Any], Spoilt]:
    """A kind of value that may be left out."""
    return lambda value: ((label, x, bad and x is not None) for label, x, bad in kind(value))


def other(value: Any) -> Spoilt:
    """An object of a class of its own."""
    for label, wrong in (("text", "text"), ("none", None), ("number", 3.0), ("nan", nan), ("list", [])):
        yield label, wrong, True


function = other
"""A function."""


def switch(value: bool) -> Spoilt:
    """True or False."""
    for label, wrong in (("text", "text"), ("none", None), ("nan", nan), ("list", [])):
        yield label, wrong, True


def number(value: float) -> Spoilt:
    """Any finite number."""
    yield from words()
    for label, wrong in (("inf", inf), ("none", None), ("unicode", "\u0664\ud800"), ("pair", [1.0, 2.0])):
        yield label, wrong, True
    for label, right in (("zero", 0.0), ("negative", -2.0), ("denormal", denormal), ("huge", 1e300)):
        yield label, right, False


def count(value: int) -> Spoilt:
    """A whole number of at least 1; a huge one may be too large, and then that is said."""
    yield from whole(value)
    for label, wrong in (("zero", 0), ("negative", -3), ("none", None), ("unicode", "\u0664")):
        yield label, wrong, True
    yield "huge", 10**15, False


def _elements(value: Any, wrong: dict[str, float], right: dict[str, float]) -> Spoilt:
    """Numbers of any shape, each by itself: a wrong one is put into the array."""
    array = np.asarray(value, float)
    for label, number_ in wrong.items():
        yield label, entry(array, number_), True
    for label, number_ in right.items():
        yield label, entry(array, number_), False
    yield "text", "text", True
    yield "unicode", "\ud800", True
    yield "none", None, True
    yield "ragged", [[1.0], [1.0, 2.0]], True


def scalars(value: Any) -> Spoilt:
    """Finite numbers, each by itself."""
    yield from _elements(value, {"nan": nan, "inf": inf}, {"denormal": denormal, "huge": 1e300})


def positives(value: Any) -> Spoilt:
    """Numbers above 0, each by itself."""
    wrong = {"nan": nan, "-inf": -inf, "zero": 0.0, "negative": -1.0}
    yield from _elements(value, wrong, {"denormal": denormal, "huge": 1e300, "inf": inf})


def nonnegatives(value: Any) -> Spoilt:
    """Numbers of at least 0, each by itself."""
    wrong = {"nan": nan, "-inf": -inf, "negative": -1.0}
    yield from _elements(value, wrong, {"zero": 0.0, "denormal": denormal, "huge": 1e300})


def units(value: Any) -> Spoilt:
    """Numbers from 0 to 1, each by itself."""
    wrong = {"nan": nan, "-inf": -inf, "inf": inf, "negative": -0.1, "above 1": 1.1}
    yield from _elements(value, wrong, {"zero": 0.0, "one": 1.0, "denormal": denormal})


def sample_size(value: Any) -> Spoilt:
    """Numbers of at least 1, each by itself."""
    wrong = {"nan": nan, "-inf": -inf, "zero": 0.0, "negative": -1.0, "denormal": denormal}
    yield from _elements(value, wrong, {"huge": 1e300})


def square(array: np.ndarray) -> Spoilt:
    """A covariance matrix."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf)):
        yield label, entry(array, value), True
    yield "negative diagonal", array - 2 * np.diag(np.diag(array)), True
    yield "no square", array[:, :-1], True
    yield "all zero", array * 0, False
    yield "all huge", array * 1e300, False
    yield from ((label, value, bad) for label, value, bad in _misshapen(array) if label != "a number")


def table(array: np.ndarray) -> Spoilt:
    """Probabilities that need not be a law."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("huge", 1e300), ("negative", -0.1)):
        yield label, entry(array, value), True
    yield from _misshapen(array)


def masses(array: np.ndarray) -> Spoilt:
    """Masses of any sum, such as counts."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -0.1)):
        yield label, entry(array, value), True
    for label, value in (("denormal", denormal), ("zero", 0.0), ("huge", 1e300)):
        yield label, entry(array, value), False
    yield "all zero", array * 0, True
    yield from _misshapen(array)


def indices(array: np.ndarray) -> Spoilt:
    """Numbers of responses."""
    for label, value in (("nan", nan), ("inf", inf), ("half", 0.5), ("negative", -1.0)):
        yield label, entry(array, value), True
    yield from ((label, value, bad) for label, value, bad in _misshapen(array) if label != "a number")


def nonnegative_masses(array: np.ndarray) -> Spoilt:
    """Masses that may all be 0."""
    return ((label, value, bad and label != "all zero") for label, value, bad in masses(array))
