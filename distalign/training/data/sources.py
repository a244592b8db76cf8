"""Rows of files, folders and Hub data sets, each with its line number.

A row that cannot be read is returned as a `BadRow` that says why; the caller decides whether to stop.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from distalign.checks import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
COMPRESSED = (".gz", ".bz2", ".zst")
"""Suffixes that may follow those of text files; pyarrow decompresses them."""

_SAVED = ("state.json", "dataset_dict.json")
"""Files of which `save_to_disk` of the library datasets writes one into its folder."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Rows = Iterator[tuple[int, "Mapping[str, Any] | BadRow"]]


class BadRow(ValueError):
    """Why one line cannot be used: `reason` is the key it is counted under."""

    def __init__(self, reason: str, why: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(why)
        self.reason = reason


def read_rows(source: str | Path) -> Rows:
    """(line, row) of a file, of a folder or of a Hub data set, from line 1.

    The source is a .jsonl, .json or .csv file (perhaps .gz, .bz2 or .zst), a .parquet file, a folder that
    `save_to_disk` of the library datasets wrote, or a data set of the Hub; the last two perhaps with
    `:split`. A .json file holds an array of objects or is read as .jsonl. A row that cannot be read comes as
    a `BadRow` that says why.

    Raises:
        InputError: the source is missing, a folder of another kind, of an unknown suffix, or unreadable as a
            whole.
    """
    return reader_of(source)()


def reader_of(source: str | Path) -> Callable[[], Rows]:
    """A function that begins to read the rows of a source, as often as it is called.

    Of .jsonl and .parquet a few megabytes are held at a time, of other files all.

    Raises:
        InputError: as `read_rows`, which may raise while it reads, too.
    """
    path, name = Path(source), str(source)
    before, _, split = name.rpartition(":")
    if path.is_dir():
        return _saved_rows(path, "")
    if before and Path(before).is_dir():
        return _saved_rows(Path(before), split)
    if not path.is_file():
        return _hub_rows(name)
    suffix = _suffix(path)
    if suffix not in SUFFIXES or (suffix == ".parquet" and path.suffix in COMPRESSED):
        raise InputError(
            f"{source} has an unknown suffix: convert it to {', '.join(SUFFIXES)}; all but the last may be "
            f"compressed ({', '.join(COMPRESSED)})"
        )
    return partial(_file_rows, path, suffix)


def _file_rows(path: Path, suffix: str) -> Rows:
    try:
        if suffix == ".parquet":
            yield from _parquet_rows(path)
        elif suffix == ".csv":
            yield from _csv_rows(_content(path), str(path))
        elif suffix == ".json" and _is_array(path):
            yield from _array_rows(_content(path), str(path))
        else:
            with _stream(path) as stream:
                yield from _json_rows(stream)
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path} cannot be read: {error}") from error


def _parquet_rows(path: Path) -> Rows:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        rows = (row for batch in file.iter_batches(1024) for row in batch.to_pylist())
        yield from enumerate(rows, 1)


def _stream(path: Path) -> io.BufferedReader:
    """The bytes of a text file, decompressed where its suffix says so, from behind a byte-order mark on."""
    import pyarrow

    stream = io.BufferedReader(pyarrow.input_stream(str(path), compression="detect"))
    if stream.peek(3)[:3] == b"\xef\xbb\xbf":
        stream.read(3)
    return stream


def _content(path: Path) -> bytes:
    with _stream(path) as stream:
        return stream.read()


def _is_array(path: Path) -> bool:
    with _stream(path) as stream:
        first = next((line.lstrip() for line in stream if line.strip()), b"")
        return first[:1] == b"["


def _json_rows(lines: Iterable[bytes]) -> Rows:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:  # what json and decode raise are ValueErrors
            yield number, BadRow("malformed", f"not a line of JSON ({error})")
            continue
        yield number, _checked(row, _SURROGATE.search(line) is not None)


def _array_rows(content: bytes, name: str) -> Rows:
    """The objects of a JSON array, each with the line on which it begins."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text ({error}): save it as UTF-8") from error
    escapes = _SURROGATE.search(content) is not None
    decode, space = json.JSONDecoder().raw_decode, re.compile(r"\s*")
    place, line, counted = text.index("[") + 1, 1, 0

    def skipped(start: int) -> int:
        return space.match(text, start).end()  # type: ignore[union-attr]

    place = skipped(place)
    while text[place : place + 1] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            row, end = decode(text, place)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{name}, line {line}: not a JSON array from here on ({error}): correct it, or write .jsonl"
            ) from error
        yield line, _checked(row, escapes)
        place = skipped(end)
        if text[place : place + 1] == ",":
            place = skipped(place + 1)
        elif text[place : place + 1] != "]":
            raise InputError(
                f"{name}, line {line + text.count(chr(10), counted, place)}: a comma or the array's end is "
                "missing: correct it, or write .jsonl"
            )


def _checked(row: Any, escapes: bool) -> Mapping[str, Any] | BadRow:
    """The row, unless it is no object or holds half of a character.

    Args:
        row: what json has read.
        escapes: whether its text holds an escape of a surrogate, without which there can be no lone one.
    """
    if not isinstance(row, dict):
        return BadRow("malformed", f"JSON, but no object: {str(row)[:40]!r}")
    if escapes:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = str(error.object)[error.start]
            return BadRow(
                "lone_surrogate",
                f"the escape \\u{ord(half):x} is half of a character (a lone surrogate), which no tokenizer "
                "reads",
            )
    return row


def _csv_rows(content: bytes, name: str) -> Rows:
    """Rows of a CSV file; an empty cell is a missing value.

    Lines are those where rows begin, for cells may hold several lines.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text ({error}): save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, line = None, 1
    try:
        for cells in reader:
            if header is None:
                header = cells
            elif cells and len(cells) != len(header):
                yield line, BadRow("malformed", f"{len(cells)} cells under {len(header)} columns")
            elif cells:
                yield (
                    line,
                    {
                        column: cell if cell != "" else None
                        for column, cell in zip(header, cells, strict=True)
                    },
                )
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{name}, line {line}: not CSV from here on ({error}): quote the cells, or write .jsonl"
        ) from error


def _saved_rows(folder: Path, split: str) -> Callable[[], Rows]:
    """Rows of a folder that `save_to_disk` wrote: a data set, or several as splits."""
    if not any((folder / name).is_file() for name in _SAVED):
        raise InputError(
            f"{folder} is a folder, but not one that save_to_disk of the library datasets writes: name a "
            f"file in it ({', '.join(SUFFIXES)})"
        )
    datasets = _library(f"{folder} was written by the library datasets")
    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} cannot be read: {error}") from error
    if not isinstance(saved, dict):
        if split:
            raise InputError(f"{folder} has no splits: leave :{split} out")
        return partial(enumerate, saved, 1)
    if (split or "train") not in saved:
        raise InputError(
            f"{folder} has no split {split or 'train'!r}: name one of its splits {', '.join(saved)} as "
            f"{folder}:{next(iter(saved), 'NAME')}"
        )
    return partial(enumerate, saved[split or "train"], 1)


def _library(why: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{why}, which is not installed: pip install datasets") from error
    return datasets


def require_source(source: str | Path) -> None:
    """Raise unless the source is there, before any is read; a name that a Hub data set could have passes.

    Raises:
        InputError: it is neither there nor such a name.
    """
    path, name = Path(source), str(source)
    if path.exists() or Path(name.rpartition(":")[0] or name).is_dir():
        return
    if _suffix(path) in SUFFIXES or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[^:]+)?", name):
        raise InputError(f"{name} does not exist: check the path")


def _suffix(path: Path) -> str:
    """The suffix below that of a compressed file."""
    return path.with_suffix("").suffix if path.suffix in COMPRESSED else path.suffix


def _hub_rows(name: str) -> Callable[[], Rows]:
    require_source(name)
    datasets = _library(f"{name} is no file; a Hub data set of that name is read by the library datasets")
    repository, _, split = name.partition(":")
    try:
        return partial(enumerate, datasets.load_dataset(repository, split=split or "train"), 1)
    except Exception as error:  # the Hub's client raises whatever its layers raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name} is no file, and as a Hub data set it cannot be loaded ({why}): check the name and "
            "split, the network and HF_HUB_OFFLINE, or download it as .jsonl or .parquet"
        ) from error
