"""What a run tells its user: lines by the module `logging`, and bars where there is a terminal.

Lines go to the logger `distalign`, so a program that trains configures, collects or silences them as it does
with any other library. Within `on_stderr` they are written to stderr as well, each with its time where stderr
is no terminal: under nohup, Slurm and tee the lines are all there is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LOG = logging.getLogger("distalign")

_FIRST, _NEXT = 5.0, 30.0
"""Seconds until a long task says its first line, and between those after it."""


@dataclass(frozen=True)
class Voice:
    """A function that says a line to the user.

    Attributes:
        heard: whether this process speaks; of several, one does.
    """

    heard: bool = True

    def __call__(self, line: str) -> None:
        """Say a line."""
        if self.heard:
            LOG.info(line)

    def warn(self, line: str) -> None:
        """Say a line that should not be overlooked."""
        if self.heard:
            LOG.warning(line)


class _Stderr(logging.Handler):
    """Lines on stderr, past a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            line = f"warning: {line}"
        if not on_terminal():
            line = f"{time.strftime('%H:%M:%S')} {line}"
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


def on_terminal() -> bool:
    """Whether stderr is a terminal, on which a bar can move."""
    return sys.stderr.isatty()


@contextmanager
def on_stderr(wanted: bool = True) -> Iterator[None]:
    """Within, what is said is written to stderr, too; nested calls write it once."""
    if not wanted or any(isinstance(handler, _Stderr) for handler in LOG.handlers):
        yield
        return
    handler, level = _Stderr(), LOG.level
    LOG.addHandler(handler)
    if LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)


class Lines:
    """What stands for a bar where there is no terminal: a line now and then.

    Example:
        >>> lines, now = [], iter([0.0, 1.0, 6.0, 7.0, 40.0])
        >>> with Lines(10, "scoring", "row", lines.append, clock=lambda: next(now)) as bar:
        ...     for _ in range(4):
        ...         bar.update(2)
        >>> print(*lines, sep="\\n")
        scoring: 4 of 10 rows, 9 s left
        scoring: 8 of 10 rows, 10 s left
    """

    def __init__(
        self,
        total: int,
        what: str,
        unit: str,
        say: Callable[[str], object],
        *,
        initial: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock."""
        self.total, self.what, self.unit, self.say, self.clock = total, what, unit, say, clock
        self.done = self.initial = initial
        self.began = clock()
        self.due = self.began + _FIRST

    def __enter__(self) -> Lines:
        """Itself, as a bar does."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to close."""

    def update(self, count: int = 1) -> None:
        """Note that so many more are done, and say so when a line is due."""
        self.done += count
        now = self.clock()
        if now < self.due or self.done >= self.total:
            return
        self.due = now + _NEXT
        left = (now - self.began) / max(1, self.done - self.initial) * (self.total - self.done)
        self.say(f"{self.what}: {self.done:,} of {self.total:,} {self.unit}s, {duration(left)} left")


def progress_bar(total: int, what: str, unit: str, *, shown: bool, initial: int = 0) -> Any:
    """A context with a method `update(count)`: a bar on a terminal, lines elsewhere.

    Args:
        total: how many there are.
        what: is done to them, for instance scoring.
        unit: one of them, for instance row.
        shown: False says nothing.
        initial: how many are done already.
    """
    from tqdm import tqdm

    if shown and not on_terminal():
        return Lines(total, what, unit, LOG.info, initial=initial)
    return tqdm(
        total=total, initial=initial, desc=what, unit=unit, file=sys.stderr, disable=not shown, leave=False
    )


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> duration(12.4), duration(200), duration(7300)
        ('12 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
