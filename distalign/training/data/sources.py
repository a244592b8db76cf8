"""Rows of files and Hub data sets, each with its line number.

A row that cannot be read is returned as a `BadRow` that says why; the caller decides whether to stop.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distalign.checks import InputError

SUFFIXES = (".jsonl", ".csv", ".parquet")


class BadRow(ValueError):
    """Why one line cannot be used: `reason` is the key it is counted under."""

    def __init__(self, reason: str, why: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(why)
        self.reason = reason


def read_rows(source: str | Path) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """(line, row) of a file or of a Hub data set, from line 1.

    The source is a .jsonl, .csv (both perhaps .gz) or .parquet file, or a data set `name[:split]`. A row that
    cannot be read comes as a `BadRow` that says why.

    Raises:
        InputError: the source is missing, a folder, of an unknown suffix, or unreadable as a whole.
    """
    path, name = Path(source), str(source)
    suffix = Path(name.removesuffix(".gz")).suffix
    if path.is_dir():
        raise InputError(f"{source} is a folder: name a file in it ({', '.join(SUFFIXES)})")
    if not path.is_file():
        return _hub_rows(name, suffix)
    if suffix not in SUFFIXES or (suffix == ".parquet" and name.endswith(".gz")):
        raise InputError(
            f"{source} has an unknown suffix: convert it to {', '.join(SUFFIXES)}, or to a .gz of the first "
            "two"
        )
    try:
        if suffix == ".parquet":
            import pyarrow.parquet

            return enumerate(pyarrow.parquet.read_table(path).to_pylist(), 1)
        content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{source} cannot be read: {error}") from error
    return _json_rows(content) if suffix == ".jsonl" else _csv_rows(content, name)


def _json_rows(content: bytes) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except (
            ValueError,
            RecursionError,
        ) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            yield number, BadRow("malformed", f"not a line of JSON ({error})")
            continue
        yield (
            number,
            row if isinstance(row, dict) else BadRow("malformed", f"JSON, but no object: {str(row)[:40]!r}"),
        )


def _csv_rows(content: bytes, name: str) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Rows of a CSV file; an empty cell is a missing value.

    Lines are those where rows begin, for cells may hold several lines.
    """
    try:
        text = content.decode("utf-8-sig")
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


def _hub_rows(name: str, suffix: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if suffix in SUFFIXES or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[^:]+)?", name):
        raise InputError(f"{name} does not exist: check the path")
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"{name} is no file; to read a Hub data set of that name: pip install datasets"
        ) from error
    repository, _, split = name.partition(":")
    try:
        return enumerate(datasets.load_dataset(repository, split=split or "train"), 1)  # type: ignore[arg-type]
    except Exception as error:  # the Hub's client raises whatever its layers raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name} is no file, and as a Hub data set it cannot be loaded ({why}): check the name and "
            "split, the network and HF_HUB_OFFLINE, or download it as .jsonl or .parquet"
        ) from error
