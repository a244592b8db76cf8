"""What the arguments of a formula must be, said once above it.

    @checked(losses=REAL.of("m"), p=LAW.of("m"), temperature=POSITIVE)
    def mean_loss(losses, p, temperature): ...

`checked` holds each argument that is given against its rule and refuses it with `InputError`, or passes it on
as it is: it never converts an argument and catches nothing that the formula raises. So the numbers of a
formula do not depend on it, and their digest leaves it out (`distalign.simulation.source`).
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError

LARGEST, SMALLEST = 1e100, 1e-100
"""Sizes between which squares of numbers, and products of two of them, are finite and not 0."""

_BY_NAME = 10**9  # the place of an argument that is given by its name alone
_F = TypeVar("_F", bound=Callable[..., Any])
_Sizes = dict[str, tuple[Any, str]]


class Rule(Protocol):
    """Anything that refuses an argument, or does nothing."""

    def check(self, name: str, value: Any, sizes: _Sizes) -> None:
        """Refuse a value that breaks the rule.

        Args:
            name: of the argument.
            value: the argument.
            sizes: length of each named axis and the argument it was first seen in; added to.

        Raises:
            InputError: the value breaks the rule.
        """


@dataclass(frozen=True)
class Numbers:
    """A rule for one number, or for an array of them.

    Attributes:
        words: what the numbers have to be, after "must be a number" or "an array of numbers"; {low} and
            {high} stand for the ends of the range.
        remedy: what to do about a wrong one.
        low, high: ends of the range, both allowed.
        zero: whether 0 is allowed where it lies outside the range.
        infinite: whether positive infinity is allowed.
        whole: whether only whole numbers are.
        total: what the last axis sums to, up to 1e-6.
        shape: names of the axes, such as "m d"; "..." in front stands for any number of them, and axes of one
            name have one length in all arguments; "S*K" is the product of two. "" is one number; None is
            one number or any array.
        optional: whether None is allowed.
        lists: whether lists stand for arrays; a formula that only does arithmetic takes none.
        also: says what is wrong with an array besides, or nothing.
    """

    words: str
    remedy: str
    low: float = -LARGEST
    high: float = LARGEST
    zero: bool = False
    infinite: bool = False
    whole: bool = False
    total: float | None = None
    shape: str | None = ""
    optional: bool = False
    lists: bool = True
    also: Callable[[NDArray[Any]], str] | None = None

    def of(self, shape: str) -> Numbers:
        """The rule for an array of this shape."""
        return replace(self, shape=shape)

    @property
    def each(self) -> Numbers:
        """The rule for one number or an array of any shape."""
        return replace(self, shape=None)

    @property
    def elementwise(self) -> Numbers:
        """The rule for one number or an array, but no list, of any shape."""
        return replace(self, shape=None, lists=False)

    def meaning(self, remedy: str) -> Numbers:
        """The rule with what the argument stands for as its remedy."""
        return replace(self, remedy=remedy)

    @property
    def solvable(self) -> Numbers:
        """The rule where the numbers go into a conic or linear program, whose solvers fail at other sizes."""
        low = self.low if self.low == 0 else 1e-9 if self.low > 0 else -1e9
        return replace(self, low=low, high=min(self.high, 1e9))

    @property
    def or_none(self) -> Numbers:
        """The rule for an argument that may be left out."""
        return replace(self, optional=True)

    def check(self, name: str, value: Any, sizes: _Sizes) -> None:
        """Refuse numbers that break the rule, or whose axes have other lengths than before."""
        if type(value) is float or type(value) is int:
            if not self.shape and self._allows(value):
                return
        elif value is None and self.optional:
            return
        array = self._array(name, value)
        if self.whole and not self.shape and not isinstance(value, numbers.Integral):
            raise self._refusal(name, _shown(value))
        if self.shape is not None:
            self._measure(name, array, sizes)
        if not array.size:
            self._also(name, array)
            return
        if (self.whole and array.dtype.kind == "f") or not (
            array.min() >= self.low and array.max() <= self.high
        ):
            fine = self._fine(array)
            if not fine.all():
                place = tuple(int(k) for k in np.argwhere(~fine)[0])
                where = f" at {', '.join(map(str, place))}" if place else ""
                raise self._refusal(name, f"{array[place]}{where}")
        if self.total is not None:
            sums = array.sum(-1)
            wrong = abs(sums - self.total)
            if not (wrong <= 1e-6).all():
                raise self._refusal(name, f"a sum of {np.ravel(sums)[wrong.argmax()]:.9g}")
        self._also(name, array)

    def _also(self, name: str, array: NDArray[Any]) -> None:
        if self.also is not None and (fault := self.also(array)):
            raise self._refusal(name, fault)

    def _allows(self, value: float) -> bool:
        return (
            self.low <= value <= self.high
            or (self.zero and value == 0)
            or (self.infinite and value == np.inf)
        ) and not (self.whole and type(value) is float)

    def _fine(self, array: NDArray[Any]) -> NDArray[np.bool_]:
        fine = (array >= self.low) & (array <= self.high)
        if self.zero:
            fine |= array == 0
        if self.infinite:
            fine |= array == np.inf
        return fine & (array == np.floor(array)) if self.whole else fine

    def _array(self, name: str, value: Any) -> NDArray[Any]:
        """The numbers as an array to look at."""
        if type(value) is np.ndarray and (value.dtype == np.float64 or value.dtype.kind in "iub"):
            return value
        try:
            if isinstance(value, list | tuple) and not self.lists:
                raise TypeError("a list")
            array = np.asarray(value)
            if array.dtype.kind in "fiubO":
                return array.astype(float, copy=False)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor with a gradient
            pass
        raise self._refusal(name, _shown(value))

    def _measure(self, name: str, array: NDArray[Any], sizes: _Sizes) -> None:
        """Refuse another number of axes, and lengths that differ from those of earlier arguments."""
        axes = (self.shape or "").split()
        free = axes[:1] == ["..."]
        axes = axes[free:]
        first = array.ndim - len(axes)
        if first < 0 or (first and not free and (axes or array.size != 1)) or 0 in array.shape[first:]:
            raise self._refusal(name, f"shape {array.shape}", "give these axes, none of them empty")
        if free and first:
            lead = array.shape[:first]
            before, other = sizes.setdefault("...", (lead, name))
            if before != lead:
                try:
                    np.broadcast_shapes(before, lead)
                except ValueError:
                    raise InputError(
                        f"{name} has shape {array.shape}, whose leading axes do not fit {before} of {other}: "
                        "give one batch, or axes that broadcast"
                    ) from None
        for axis, size in zip(axes, array.shape[first:], strict=False):
            if "*" in axis:
                factors = [sizes[part] for part in axis.split("*")]
                length, other = math.prod(factor[0] for factor in factors), factors[0][1]
            else:
                length, other = sizes.setdefault(axis, (size, name))
            if length != size:
                raise InputError(
                    f"{name} has shape {array.shape}, {size} along {axis}, where {other} has {length}: give "
                    "arrays that belong together"
                )

    def _refusal(self, name: str, got: str, remedy: str = "") -> InputError:
        if self.shape:
            kind = f"an array ({', '.join(self.shape.split())}) of numbers"
        else:
            kind = "numbers" if self.shape is None else "a number"
        words = self.words.format(low=self.low, high=self.high)
        return InputError(f"{name} must be {kind} {words}, got {got}: {remedy or self.remedy}")


@dataclass(frozen=True)
class OneOf:
    """A rule for a word.

    Attributes:
        options: the words that are known.
    """

    options: tuple[str, ...]

    def check(self, name: str, value: Any, sizes: _Sizes) -> None:
        """Refuse what is none of the words."""
        if not isinstance(value, str) or value not in self.options:
            raise InputError(
                f"{name} must be one of {', '.join(map(repr, self.options))}, got {_shown(value)}"
            )


@dataclass(frozen=True)
class Thing:
    """A rule for an object.

    Attributes:
        words: what it is, after "must be".
        fits: whether an object is one.
    """

    words: str
    fits: Callable[[Any], bool]

    def check(self, name: str, value: Any, sizes: _Sizes) -> None:
        """Refuse what does not fit."""
        if not self.fits(value):
            raise InputError(f"{name} must be {self.words}, got {_shown(value)}: give one of that kind")


REAL = Numbers("of size up to {high:g}", "divide by their scale, and leave out what is missing")
POSITIVE = Numbers("above 0, from {low:g} to {high:g}", "measure it in a unit of its own size", low=SMALLEST)
ORDER = replace(POSITIVE, words="from {low:g} to {high:g}", remedy="1 and 2 are usual", low=0.01, high=30)
POSITIVE_OR_INFINITE = replace(POSITIVE, words="above 0, from {low:g} to {high:g} or infinite", infinite=True)
NONNEGATIVE = Numbers("of at least 0 and at most {high:g}", "0 is allowed, a negative one is not", low=0)
UNIT = Numbers("from 0 to 1", "give a share of 1, not a percentage", low=0, high=1)
INSIDE_UNIT = Numbers(
    "strictly between 0 and 1", "give a share of 1, without the ends", low=SMALLEST, high=1 - 2.0**-53
)
LAW = Numbers(
    "of at least 0 that sum to 1 over the last axis", "divide counts by their total", low=0, high=2, total=1
)
SHARE = replace(POSITIVE, words="above 0 and at most 1", remedy="give a share of 1", high=1)
POSITIVE_LAW = replace(LAW, words="above 0 that sum to 1 over the last axis", low=SMALLEST)


def quantity(least: int = 1, most: float = 1e30) -> Numbers:
    """The rule for how many there are, which may be any number between two and not only a whole one."""
    return Numbers("from {low:g} to {high:g}", "say how many there are", low=least, high=most)


def whole_number(least: int = 1, most: float = 1e15) -> Numbers:
    """The rule for how many there are, a whole number."""
    return replace(quantity(least, most), words="from {low:g} to {high:g} without a fraction", whole=True)


def _covariance_fault(array: NDArray[Any]) -> str:
    variances = np.diagonal(array)
    return "" if (variances >= -1e-9 * abs(array).max()).all() else f"a variance of {variances.min():g}"


def dimensions(array: NDArray[Any]) -> int:
    """The dimensions that vectors (m, d) of moderate size span."""
    scale = abs(array).max(initial=0.0)
    if scale < SMALLEST:
        return 0
    return int(np.linalg.matrix_rank((array / scale).T @ (array / scale), hermitian=True))


def spanning(v: Any, p: Any) -> str:
    """A relation: the vectors v (m, d) of positive probability p (m,) span R^d, so that a fit is unique."""
    rows = np.asarray(v, float)[np.asarray(p) > 0]
    rank, d = dimensions(rows), rows.shape[1]
    fits = rank == d
    return (
        "" if fits else f"v spans {rank} of {d} dimensions where p is above 0: leave out redundant features"
    )


def moderate_margins(v: Any, theta: Any, beta: float) -> str:
    """A relation: no margin beta <theta, v> is so large that its loss is flat in double precision."""
    largest = float(beta * np.abs(np.asarray(v, float) @ np.asarray(theta, float)).max())
    fits = largest <= 300
    return (
        "" if fits else f"beta <theta, v> must be at most 300 in size, got {largest:.3g}: rescale one of them"
    )


def _log_law_fault(array: NDArray[Any]) -> str:
    total = np.exp(array).sum(-1)
    return "" if (abs(total - 1) <= 1e-6).all() else f"probabilities of sum {np.ravel(total)[0]:.9g}"


def _cost_fault(array: NDArray[Any]) -> str:
    if np.diagonal(array).any():
        return "an atom that is not at distance 0 of itself"
    return (
        "" if np.allclose(array, array.T, rtol=1e-9, atol=0) else "a distance that depends on the direction"
    )


def _win_fault(array: NDArray[Any]) -> str:
    total = array + array.swapaxes(-1, -2)
    return (
        "" if (abs(total - 1) <= 1e-6).all() else f"win + win^T = {total.flat[abs(total - 1).argmax()]:.9g}"
    )


COVARIANCE = replace(
    REAL, remedy="give a covariance, of diagonal 0 or more", shape="K K", also=_covariance_fault
)
COST = replace(
    NONNEGATIVE, remedy="give distances: symmetric, 0 on the diagonal", shape="m m", also=_cost_fault
)
WIN = replace(
    UNIT,
    words="from 0 to 1 with win + win^T = 1",
    remedy="win[i, j] is the probability that i is preferred to j",
    shape="m m",
    also=_win_fault,
)
MASSES = Numbers(
    "of at least 0, not all 0, at most {high:g}",
    "give probabilities or counts",
    low=0,
    also=lambda array: "" if array.any() else "zeros alone",
)
FEATURES = replace(
    REAL,
    remedy="leave out features that are combinations of others, and rescale them",
    also=lambda features: (
        "" if dimensions(features - features.mean(0)) == features.shape[1] else "some that tell nothing apart"
    ),
)
LOG_LAW = replace(
    REAL, words="whose exponentials sum to 1", remedy="give log-probabilities", also=_log_law_fault
)
FILLED = replace(REAL, shape=None, also=lambda array: "" if array.size else f"shape {array.shape}")
WORD = Thing("a word", lambda value: isinstance(value, str))
FUNCTION = Thing("a function", callable)
FLAG = Thing("True or False", lambda value: isinstance(value, bool | np.bool_))
RNG = Thing("a numpy random generator", lambda value: isinstance(value, np.random.Generator))


def instance(kind: type) -> Thing:
    """The rule for an object of a class."""
    return Thing(f"an object of {kind.__name__}", lambda value: isinstance(value, kind))


def checked(*relations: Callable[..., str], **rules: Rule) -> Callable[[_F], _F]:
    """Refuse arguments of a function or class that break their rules, and answers that are no number.

    An argument that obeys its rule is passed on unchanged, and so is whatever the function raises. Arguments
    that are left out keep their default, which is not checked. Signature, documentation and pickling are
    those of the function.

    Args:
        relations: functions of some of the arguments, by their names, that say what is wrong with these
            together, or nothing; asked after the rules.
        rules: by the argument's name; they are asked in the order they are written in, in which the axes of
            arrays are measured, too.

    Raises:
        TypeError: a rule for an argument that the function does not have.

    Example:
        >>> @checked(p=LAW.of("m"), losses=REAL.of("m"))
        ... def mean(losses, p):
        ...     return float(np.dot(losses, p))
        >>> mean([1.0, 3.0], [0.5, 0.5])
        2.0
        >>> mean([1.0, 3.0], [0.5, 0.6])
        Traceback (most recent call last):
        distalign.checks.InputError: p must be an array (m) of numbers of at least 0 that sum to 1 over the
        last axis, got a sum of 1.1: divide counts by their total
    """

    def wrap(function: _F) -> _F:
        target: Any = function.__init__ if isinstance(function, type) else function
        code = inspect.unwrap(target).__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        unknown = set(rules) - set(names)
        if unknown:
            raise TypeError(f"{function.__name__} has no argument {', '.join(sorted(unknown))}")
        plan = [
            (names.index(name) if name in names[: code.co_argcount] else _BY_NAME, name, rule.check)
            for name, rule in rules.items()
        ]

        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(target).parameters.items()
            if relations and parameter.default is not parameter.empty
        }
        together = [(relation, inspect.signature(relation).parameters) for relation in relations]

        @wraps(target)
        def checking(*args: Any, **kwargs: Any) -> Any:
            sizes: _Sizes = {}
            given = len(args)
            for place, name, check in plan:
                if place < given:
                    check(name, args[place], sizes)
                elif name in kwargs:
                    check(name, kwargs[name], sizes)
            if together:
                values = defaults | dict(zip(names, args, strict=False)) | kwargs
                for relation, wanted in together:
                    if values.keys() >= wanted.keys() and (fault := relation(*map(values.get, wanted))):
                        raise InputError(fault)
            answer = target(*args, **kwargs)
            if _is_no_number(answer):
                raise InputError(
                    f"{function.__name__} has no answer in double precision at these values of "
                    f"{', '.join(names)}: give numbers of moderate size"
                )
            return answer

        for name in ("cache_clear", "cache_info"):
            if hasattr(target, name):
                setattr(checking, name, getattr(target, name))
        if isinstance(function, type):
            function.__init__ = checking  # type: ignore[misc]
            return function  # pyright: ignore[reportReturnType]
        return checking  # type: ignore[return-value]

    return wrap


def _is_no_number(answer: Any) -> bool:
    if type(answer) is float:
        return answer != answer
    if isinstance(answer, np.ndarray | np.floating):
        return answer.dtype.kind == "f" and bool(np.isnan(answer).any())
    return isinstance(answer, tuple) and any(map(_is_no_number, answer))


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
