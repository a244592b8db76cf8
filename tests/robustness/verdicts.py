"""What became of a call: one of five verdicts.

right      the answer holds no NaN, or is marked by its own status or certificate as not solved;
sentence   `InputError` with a sentence;
traceback  another exception;
accepted   an answer to an input that no answer can be right for, or NaN without a mark;
hang       no answer within the time limit.
"""

from __future__ import annotations

import dataclasses
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distalign.checks import InputError

LIMIT = 10.0  # seconds
GOOD = {"right", "sentence"}
VERDICTS = ("right", "sentence", "traceback", "accepted", "hang")


@dataclass(frozen=True)
class Case:
    """One call with one spoilt argument.

    Attributes:
        function: dotted name.
        parameter: which argument is spoilt.
        label: how.
        call: makes the call.
        invalid: whether no answer can be right.
    """

    function: str
    parameter: str
    label: str
    call: Callable[[], Any]
    invalid: bool

    @property
    def name(self) -> str:
        return f"{self.function}({self.parameter}: {self.label})"


class Late(Exception):
    """The call took longer than the limit."""


def _alarm(number: int, frame: object) -> None:
    raise Late


def verdict(case: Case, limit: float = LIMIT) -> tuple[str, str]:
    """(verdict, what was seen)."""
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            out = case.call()
    except InputError as error:
        return ("sentence" if len(str(error)) > 20 else "traceback"), str(error)
    except Late:
        return "hang", f"longer than {limit} s"
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if case.invalid:
        return "accepted", repr(out)[:200]
    return ("right" if sound(out) else "accepted"), repr(out)[:200]


def sound(out: Any) -> bool:
    """Whether an answer holds no NaN that its own status or certificate does not mark."""
    if out is None or isinstance(out, str | bool):
        return True
    if isinstance(out, tuple | list):
        return all(map(sound, out))
    if isinstance(out, dict):
        return all(map(sound, out.values()))
    if isinstance(out, torch.Tensor):
        return bool(torch.isfinite(out).all())
    if not dataclasses.is_dataclass(out):
        if isinstance(out, np.ndarray) and out.dtype.kind == "O":
            return False
        return not np.isnan(np.asarray(out, float)).any()
    marked = getattr(out, "certified", None)
    if marked is not None:
        return not marked or (sound(getattr(out, "log_policy", 0.0)) and sound(getattr(out, "reward", 0.0)))
    solved = np.asarray(getattr(out, "solved", True))
    if hasattr(out, "mass_defect"):
        return bool((out.mass_defect < 1e-6).all() and np.isfinite(out.stationarity).all())
    names = [f.name for f in dataclasses.fields(out) if f.name not in ("worst_case", "status", "solved")]
    for name in names:
        value = getattr(out, name)
        if value is None or isinstance(value, str) or dataclasses.is_dataclass(value):
            if not sound(value):
                return False
            continue
        values = np.asarray(value, float)
        rows = values[solved] if solved.ndim and values.shape[:1] == solved.shape else values
        if np.isnan(rows).any():
            return not solved.all() and solved.ndim == 0
    return True
