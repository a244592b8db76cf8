"""Scores that were computed, appended to a file line by line and found again by another run.

Source: ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from distalign.checks import InputError
from distalign.files import disk_trouble
from distalign.training.data.texts import Text
from distalign.types import Array


class ScoreCache:
    """Numbers by a digest of the score, the prompt and the response.

    Each line of the file has a checksum, so that a line which a kill cut short, or which was damaged, is
    computed anew and never read.

    Args:
        path: of the file, which several scores may share; None keeps nothing.
        identity: of the score.

    Raises:
        InputError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cache"
        >>> first = ScoreCache(path, "a score")
        >>> first.add([first.key("2+2=", "4")], [[0.5]])
        >>> again = ScoreCache(path, "a score")
        >>> again.values[again.key("2+2=", "4")]
        [0.5]
        >>> again.key("2+2=", "5") in again.values
        False
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        """Read what the file holds."""
        self.path, self.identity = path, identity
        self.values: dict[str, list[float]] = {}
        if path is None or not path.is_file():
            return
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): remove it") from error
        for line in lines:
            check, _, content = line.partition(b" ")
            if _check(content) == check:
                key, *values = json.loads(content)
                self.values[key] = values

    def key(self, prompt: Text, response: str) -> str:
        """The name of one text of one prompt."""
        said = json.dumps([self.identity, prompt, response], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def add(self, keys: Sequence[str], values: Array | Sequence[Sequence[float]]) -> None:
        """Keep the numbers of some texts, one row each.

        Raises:
            InputError: the file cannot be written.
        """
        rows = {key: [float(value) for value in row] for key, row in zip(keys, values, strict=True)}
        self.values |= rows
        if self.path is None:
            return
        lines = [json.dumps([key, *row]).encode() for key, row in rows.items()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:  # it begins a line, for the last one may have been cut short
                file.write(b"\n" + b"\n".join(_check(line) + b" " + line for line in lines) + b"\n")
        except OSError as error:
            why, remedy = disk_trouble(error) or (str(error), "free space")
            raise InputError(f"cannot write {self.path}: {why}; {remedy}") from error


def _check(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:12].encode()
