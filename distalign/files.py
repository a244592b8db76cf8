"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from distalign.checks import InputError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary neighbour and rename, so that a reader never sees half a file.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        why = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else error.strerror or str(error)
        )
        raise InputError(
            f"cannot write {path}: {why}; free space or choose another --out, then run the same command "
            "again: finished cells are kept"
        ) from error
