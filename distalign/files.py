"""Writing files so that they are there whole or not at all, and what went wrong in words.

Every file that distalign writes goes through `write_whole` (or, a folder of many files, through
`distalign.training.checkpoint`, which uses the same words). A file is written under a name that nobody can
guess and that did not exist, brought to the disk, and then renamed: a reader sees the old file or the new
one, even after a crash of the machine.

Source: ours.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from distalign.checks import InputError

_FULL = ("the disk is full", "free space or choose another --out")
_NO_FOLDER = ("a part of this path is a file and no folder", "choose another --out")
_NOT_ALLOWED = ("you are not permitted to write there", "change the permissions or choose another --out")
_TROUBLES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: ("the file exceeds the largest size allowed", "raise the limit or choose another --out"),
    errno.EROFS: ("the file system is read-only", "choose another --out"),
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENAMETOOLONG: ("its name or path is too long for the file system", "choose a shorter --out"),
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: ("a folder of this name is there", "move it away or choose another --out"),
    errno.ENOENT: ("its folder has gone", "choose another --out"),
}
_OF_THE_SYSTEM = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
_CODE = re.compile(r"\(os error (\d+)\)")


def disk_trouble(error: BaseException) -> tuple[str, str] | None:
    """What is wrong with the disk and what helps, both in words; None if the error is of another kind.

    safetensors and tokenizers report the disk by errors of their own, whose text ends in the number.

    Example:
        >>> disk_trouble(OSError(errno.ENOSPC, "No space left on device"))
        ('the disk is full', 'free space or choose another --out')
        >>> disk_trouble(Exception("I/O error: Read-only file system (os error 30)"))
        ('the file system is read-only', 'choose another --out')
        >>> disk_trouble(ValueError("x")) is None
        True
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (found := _CODE.search(str(error))):
        code = int(found[1])
    if code is None and "No space left" in str(error):
        code = errno.ENOSPC
    if code is None and not isinstance(error, OSError):
        return None
    words = os.strerror(code) if code is not None else str(error)
    return _TROUBLES.get(code or 0, (words, "choose another --out"))


def refusal(error: OSError) -> str | None:
    """What the system refused to do with a file or folder, as a sentence; None if it is something else.

    A file that is not there is something else: who looks for it knows what is missing.

    Example:
        >>> refusal(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300))[:62]
        'cannot use xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
        >>> refusal(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
        True
    """
    if error.errno not in _OF_THE_SYSTEM:
        return None
    name = "what this command prints to" if error.filename is None else str(error.filename)
    words, remedy = disk_trouble(error) or ("", "")
    return f"cannot use {name if len(name) <= 200 else name[:200] + '...'}: {words}; {remedy}"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary neighbour and rename, so that a reader never sees half a file.

    Args:
        path: the file; its folder is made where there is none.
        write: writes a file of the name it is given, which exists and is empty.

    Raises:
        InputError: the disk is full or read-only, the folder cannot be written, or the name is too long or
            taken by a folder.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        write(temporary)
        to_disk(temporary)
        os.replace(temporary, path)
        to_disk(path.parent)
    except Exception as error:
        trouble = disk_trouble(error)
        if trouble is None:
            raise
        raise InputError(
            f"cannot write {path}: {trouble[0]}; {trouble[1]}, then run the same command again: finished "
            "cells are kept"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it hides no cause
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_whole` of a text, in UTF-8 and with its line ends as they are, whatever the locale.

    Raises:
        InputError: as `write_whole`, or the text holds half of a surrogate pair, which no file can hold.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"cannot write {path}: character {error.start} of its text is half of a surrogate pair "
            f"({text[error.start]!r}): remove it from the names or texts that were given"
        ) from error
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def to_disk(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, have reached the disk.

    Windows brings to the disk only what is open for writing, and opens no folder: there names are left to the
    file system.
    """
    try:
        number = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # a file system without it
            raise
    finally:
        os.close(number)


def figure_folders() -> tuple[Path, Path]:
    """`paper_figures` of the installed package and of the repository; one of them is there."""
    package = Path(__file__).parent
    return package / "paper_figures", package.parent / "paper_figures"


def committed_folder() -> Path:
    """The `paper_figures` that is there: its `tables` and `figures` are the committed results."""
    return next((f for f in figure_folders() if f.is_dir()), figure_folders()[0])


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, hidden ones left out.

    A file whose size and time of change are as before is not read again in this process.

    Raises:
        InputError: a file cannot be read.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> _ = (place / "a").write_text("1")
        >>> before = folder_digest(place)
        >>> _ = (place / "a").write_text("12")
        >>> before == folder_digest(place)
        False
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                stat = path.stat()
                inside = _file_digest(path.resolve(), stat.st_size, stat.st_mtime_ns)
                digest.update(f"{name.as_posix()}\0{inside}\n".encode())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): name a folder that can") from error
    return digest.hexdigest()


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file, or "" where it cannot be read; one that is as before is not read again.

    Example:
        >>> file_digest("nowhere")
        ''
    """
    try:
        stat = Path(path).stat()
        return _file_digest(Path(path).resolve(), stat.st_size, stat.st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Keep a folder or file to this run: another run of it is told who holds it, and since when.

    The lock is the system's and ends with the process, however that ends, so there is nothing to remove after
    a kill.

    Args:
        path: what the run writes; a file beside it, or in it, with a name that begins with a dot is locked.
        what: the argument that names it, for the sentence.

    Raises:
        InputError: another process holds it, or the place cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with held(folder, "output_dir"):
        ...     sorted(file.name for file in folder.iterdir())
        ['.distalign.lock', '.distalign.run']
    """
    from filelock import FileLock, Timeout

    stem = path / ".distalign" if path.is_dir() else path.with_name(f".{path.name[:200]}")
    note = stem.with_name(f"{stem.name}.run")
    lock = FileLock(stem.with_name(f"{stem.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{what} {path} is written by another run just now{_holder(note)}: wait until it ends, or choose "
            f"another {what}"
        ) from None
    except NotImplementedError:  # a file system without locks
        pass
    except OSError as error:
        trouble = disk_trouble(error) or (str(error), "")
        raise InputError(f"{what} {path} cannot be written: {trouble[0]}; choose another {what}") from error
    try:
        who = {
            "process": os.getpid(),
            "machine": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv)[:500],
        }
        write_text(note, json.dumps(who) + "\n")
        yield
    finally:
        lock.release()


def _holder(note: Path) -> str:
    """Who holds a lock, in words; empty where that cannot be read."""
    try:
        who = json.loads(note.read_text(encoding="utf-8"))
        return f" (process {who['process']} on {who['machine']}, since {who['since']}: {who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
