"""Checks of a scenario's arguments: each returns one of them as an array or a tuple, or raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp

from distalign.checks import InputError
from distalign.types import Array

UNIFORM, ON_POLICY = "uniform", "on-policy"


def _numbers(value: Any, sentence: str) -> Array:
    """The value as an array of numbers; words, true and false, dates and lists of different lengths are
    none.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise InputError(sentence) from None
    true_or_false = not isinstance(value, np.ndarray) and any(
        isinstance(v, bool)
        for v in np.asarray(value, object).ravel()  # numpy takes [True, 0.5] for numbers
    )
    if array.dtype.kind not in "iuf" or true_or_false:
        raise InputError(sentence)
    return array.astype(float)


def utilities(value: Any) -> Array:
    """(K, m) utilities in [0, 1]; the error for others says how to rescale them, and what that changes."""
    u = _numbers(value, "utilities must be numbers, as many for each user as there are alternatives")
    if u.ndim != 2 or not u.size:
        raise InputError(f"utilities must have shape (users, alternatives), got {u.shape}")
    if u.shape[1] < 2:
        raise InputError("one alternative leaves nothing to choose: give at least 2")
    if not np.isfinite(u).all():
        raise InputError("utilities hold NaN or infinity: every user needs a number for every alternative")
    low, high = float(u.min()), float(u.max())
    if low < 0 or high > 1:
        raise InputError(
            f"utilities must lie in [0, 1], got values from {low:g} to {high:g}: subtract {min(low, 0):g} "
            f"and divide by {max(high, 1) - min(low, 0):g}, the same for all users, and multiply "
            "bt_temperature by that divisor. The division then changes no answer and no distortion, only "
            "the guarantee C, which grows with bt_temperature; the subtraction changes no answer but every "
            "distortion, because it moves the zero. Do not rescale each user on his own: that gives quiet "
            "users the voice of loud ones"
        )
    return u


def weights(value: Any, types: int) -> Array:
    """(K,) positive weights, scaled to sum 1."""
    sentence = f"weights must be {types} numbers of at least 0, one for each type of user, not all 0"
    w = np.ones(types) if value is None else _numbers(value, sentence)
    if w.shape != (types,) or not (np.isfinite(w) & (w >= 0)).all() or not 0 < w.sum() < np.inf:
        raise InputError(sentence)
    if (w == 0).any():
        raise InputError(f"user {int(np.argmin(w)) + 1} has weight 0: leave that type out")
    return w / w.sum()


def temperatures(value: Any, types: int) -> Array:
    """(K,) Bradley-Terry temperatures, from one number for all types or one for each."""
    sentence = (
        f"bt_temperature must be a finite number above 0, or {types} of them, got {str(value)[:60]!r}: it is "
        "the slope of the Bradley-Terry choice; 5 makes an answer across the whole range of utility 99 % sure"
    )
    b = _numbers(value, sentence)
    if b.shape not in ((), (types,)) or not (np.isfinite(b) & (b > 0)).all():
        raise InputError(sentence)
    return np.broadcast_to(b, (types,)).copy()


def names(what: str, value: Sequence[Any] | None, size: int) -> tuple[str, ...] | None:
    """A list of `size` names as a tuple, or None."""
    if value is None:
        return None
    listed = hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping)
    if not listed or len(value) != size or not all(map(is_name, value)):
        raise InputError(
            f"{what} must be a list of {size} names, each a word or a number, got {value!r}"[:300]
        )
    return tuple(map(str, value))


def is_name(value: object) -> bool:
    """Whether a value can be a name: a word or a number, and no list, date or truth value."""
    return isinstance(value, str | int | float | np.number) and not isinstance(value, bool)


def log_reference(reference: Any, logs: Any, size: int) -> Array:
    """(m,) log-probabilities of the reference, from either form; uniform where none is given."""
    if reference is not None and logs is not None:
        raise InputError("give reference or log_reference, not both")
    if logs is not None:
        sentence = f"log_reference must hold {size} finite log-probabilities whose exponentials sum to 1"
        q = _numbers(logs, sentence)
        if q.shape != (size,) or not np.isfinite(q).all() or abs(np.asarray(logsumexp(q))) > 1e-6:
            raise InputError(sentence)
        return q - np.asarray(logsumexp(q))
    if reference is None or (isinstance(reference, str) and reference == UNIFORM):
        return np.full(size, -np.log(size))
    sentence = f"reference must be {UNIFORM!r} or {size} probabilities of sum 1, one for each alternative"
    p = _numbers(reference, sentence)
    if p.shape != (size,) or not (p >= 0).all() or abs(p.sum() - 1) > 1e-6:
        raise InputError(sentence)
    if p.min() < 1e-300:
        raise InputError(
            f"reference gives alternative {int(p.argmin()) + 1} probability {p.min():g}, which has no "
            "logarithm in float64: give log_reference (natural logarithms, for instance -1000) instead"
        )
    return np.log(p / p.sum())


def pairs(value: Any, log_reference: Array) -> Array:
    """(m,) distribution of the alternatives shown, or (m, m) weights of pairs, of sum 1."""
    size = len(log_reference)
    if isinstance(value, str):
        if value not in (UNIFORM, ON_POLICY):
            raise InputError(
                f"pairs must be {UNIFORM!r}, {ON_POLICY!r}, {size} probabilities or a {size} x {size} table "
                f"of weights, got {value!r}"
            )
        return np.full(size, 1 / size) if value == UNIFORM else np.exp(log_reference)
    sentence = (
        f"pairs must hold {size} probabilities of alternatives or {size} x {size} weights of pairs, "
        "finite and not negative"
    )
    w = _numbers(value, sentence)
    if w.shape not in ((size,), (size, size)) or not (np.isfinite(w) & (w >= 0)).all() or not w.sum() > 0:
        raise InputError(f"{sentence}, got shape {w.shape}")
    if w.ndim == 2 and not np.allclose(w, w.T, rtol=1e-12, atol=0):
        raise InputError("pairs must be symmetric: (x, y) and (y, x) are the same question")
    if w.ndim == 1 and abs(w.sum() - 1) > 1e-6:
        raise InputError(
            f"pairs must sum to 1, got {w.sum():g}: they are the probabilities of the alternatives shown"
        )
    return w / w.sum()
