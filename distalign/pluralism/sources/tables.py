"""Tables in the formats that people keep them in, read by what a file holds and not by what it is called.

CSV, TSV and semicolons, Parquet and JSON lines, each plain or packed with gzip or Zstandard. A file of
another kind is refused by its kind.

Source: ours.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distalign.checks import InputError
from distalign.types import Array

if TYPE_CHECKING:
    import pyarrow
    from pandas.io.parsers import TextFileReader

ROWS_AT_ONCE = 2**17
RANKINGS = (".soc", ".soi", ".toc", ".toi")
_YAML = (".yaml", ".yml", ".json")
_REFUSED = {
    b"PK\x03\x04": "an Excel workbook or a zip archive: save the sheet as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV",
    b"SQLite format": "an SQLite database: export the table as CSV",
    b"\x93NUMPY": "a numpy array: write a table with named columns instead",
    b"ARROW1": "an Arrow (Feather) file: save it as Parquet",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"BZh": "packed with bzip2: use gzip",
    b"\xfd7zXZ": "packed with xz: use gzip",
    b"%PDF": "a PDF document",
    b"<": "HTML or XML: save the table as CSV",
}


def kind_of(path: Path) -> str:
    """What a file holds: `table` (separated text), `parquet`, `json lines`, `rankings` (PrefLib) or `yaml`.

    Raises:
        InputError: the file cannot be read, is empty, is no UTF-8, or is of a kind that is not read; the
            sentence names the kind.
    """
    with opened(path) as stream:
        try:
            start = stream.read(4096)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
    for magic, kind in _REFUSED.items():
        if start.startswith(magic):
            raise InputError(f"{path} looks like {kind}")
    if start.startswith(b"PAR1"):
        return "parquet"
    if not start.strip():
        raise InputError(f"{path} cannot be read: it is empty")
    text, suffix = _decoded(start, path), _suffix(path)
    if suffix == ".wmd":
        raise InputError(f"{path} looks like PrefLib matching data (.wmd), which holds no rankings of people")
    if suffix in RANKINGS or text.startswith(("# FILE NAME", "# NUMBER ALTERNATIVES")):
        return "rankings"
    if suffix in _YAML:
        return "yaml"
    line = text.strip().splitlines()[0]
    if line.startswith("{"):
        return "json lines" if _is_object(line) else "yaml"
    if line.startswith("[{"):
        raise InputError(f"{path} looks like one JSON array: write one object a line (JSON lines)")
    fields = _fields(line, _separator(line))
    plain = suffix in (".csv", ".tsv", ".txt", ".tab") or (len(fields) > 1 and ": " not in line)
    return "table" if plain else "yaml"


def columns_of(path: Path) -> list[str]:
    """The names of a table's columns.

    Raises:
        InputError: the file is no table, or two columns have the same name.
    """
    kind = kind_of(path)
    if kind == "parquet":
        import pyarrow.parquet

        names = list(pyarrow.parquet.read_schema(path).names)
    elif kind == "json lines":
        names = list(json.loads(_first_line(path)))
    elif kind == "table":
        line = _first_line(path)
        names = [name.strip() for name in _fields(line, _separator(line))]
    else:
        kinds = {"rankings": "PrefLib rankings", "yaml": "YAML"}
        raise InputError(f"{path} looks like {kinds[kind]} and is no table")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path} has two columns {name!r}: rename one")
    return names


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of a table; text of a CSV file stays as it stands there.

    Raises:
        InputError: the file cannot be read, or it has no rows.
    """
    kind = kind_of(path)
    try:
        if kind == "parquet":
            table = pd.read_parquet(path, columns=list(names))
        elif kind == "json lines":
            with opened(path) as stream:
                table = pd.read_json(stream, lines=True, dtype=False)  # pyright: ignore[reportArgumentType]
            table = table.reindex(columns=list(names))
        else:
            table = _separated(path, names)
    except (OSError, EOFError, ValueError, UnicodeError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}") from error
    if table.empty:
        raise InputError(f"{path} holds no rows")
    return table.reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of text whose different words are kept once.

    Attributes:
        code: (n,) an index into `words` for each row.
        words: the words, each once, in any order; "" stands for a missing cell.
    """

    code: NDArray[np.int32]
    words: tuple[str, ...]


def coded_columns(path: Path, names: Sequence[str]) -> dict[str, Coded]:
    """Some columns of a table as codes of their words; of Parquet one column is held at a time.

    Raises:
        InputError: the file cannot be read, or it has no rows.
    """
    if kind_of(path) != "parquet":
        table = read_columns(path, names)
        return {name: coded(table[name]) for name in names}  # pyright: ignore[reportArgumentType]
    import pyarrow
    import pyarrow.parquet

    found = {}
    for name in dict.fromkeys(names):
        try:
            column = pyarrow.parquet.read_table(path, columns=[name]).column(0)
            if pyarrow.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            column = column.dictionary_encode(null_encoding="encode").unify_dictionaries()
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
        if not len(column):
            raise InputError(f"{path} holds no rows")
        words = text_of(column.chunk(0).dictionary.to_pandas())
        parts = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks]
        found[name] = Coded(np.concatenate(parts).astype(np.int32, copy=False), tuple(words))
    return found


def coded(column: pd.Series) -> Coded:
    """A column that is held already, as codes of its words."""
    code, words = pd.factorize(column, use_na_sentinel=False)
    return Coded(code.astype(np.int32), tuple(text_of(pd.Series(words))))


def batches(path: Path, names: Sequence[str]) -> Iterator[pyarrow.Table]:
    """Some columns of a Parquet file or of separated text, `ROWS_AT_ONCE` rows at a time.

    Rows, words and errors are those of `read_columns`. JSON lines cannot be read so: how a number is written
    there depends on all rows.

    Raises:
        InputError: the file cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    kind = kind_of(path)
    try:
        if kind == "parquet":
            file = pyarrow.parquet.ParquetFile(path)
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(names), use_threads=False):
                yield pyarrow.table({name: _plain_words(batch.column(name)) for name in names})
        else:
            with _parser(path, ROWS_AT_ONCE) as parts:
                for part in parts:
                    named = part.rename(columns=str.strip)
                    yield pyarrow.table({name: pyarrow.array(named[name]) for name in names})
    except (
        *(OSError, EOFError, ValueError, UnicodeError),
        *(pd.errors.ParserWarning, pyarrow.ArrowException),
    ) as error:
        raise InputError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}") from error


def _plain_words(column: pyarrow.Array) -> pyarrow.Array:
    import pyarrow

    return column.cast(column.type.value_type) if pyarrow.types.is_dictionary(column.type) else column


def text_of(column: pd.Series) -> pd.Series:
    """A column as text; "" where a cell is missing, and whole numbers without a point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("str").fillna("")


def numbers_of(table: pd.DataFrame, name: str, path: Path) -> Array:
    """A column as numbers.

    Raises:
        InputError: a cell holds no finite number; the sentence says which and where.
    """
    column = table[name]
    values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        cell = column.iloc[bad[0]]
        point = ": write decimal points" if isinstance(cell, str) and "," in cell else ""
        raise InputError(f"{path}: column {name!r} holds {cell!r} in {place(path, bad[0])}{point}")
    return values


def place(path: Path, row: int) -> str:
    """Where a row stands, in words: `line 7` of a text with a header, `row 6` of other tables."""
    return f"line {row + 2}" if kind_of(path) == "table" else f"row {row + 1}"


def _separated(path: Path, names: Sequence[str]) -> pd.DataFrame:
    with _parser(path, None) as parser:
        return parser.read().rename(columns=str.strip)[list(names)]  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def _parser(path: Path, rows: int | None) -> Iterator[TextFileReader]:
    """Separated text; an iteration gives so many rows at a time, and a row longer than the header raises."""
    line = _first_line(path)
    with opened(path) as stream:
        if any(b"\0" in part for part in iter(lambda: stream.read(1 << 20), b"")):
            raise InputError(f"{path} holds bytes of value 0, so it is damaged: copy it again")
    with opened(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        yield pd.read_csv(  # all columns: with `usecols` it does not notice a row that is too long
            stream,
            sep=_separator(line),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            header=0,
            chunksize=rows,
            iterator=True,
        )


def _separator(line: str) -> str:
    """The one of comma, tab and semicolon that splits the header into most columns."""
    return max(",\t;", key=lambda c: len(_fields(line, c)))


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise InputError(
            f"the table's first line, {line[:40]!r}..., is no list of columns ({error}): give a header"
        ) from error


def _first_line(path: Path) -> str:
    with opened(path) as stream:
        for raw in stream:
            if raw.strip():
                return _decoded(raw, path).strip("\r\n")
    raise InputError(f"{path} cannot be read: it is empty")


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if it is packed with gzip or Zstandard, whatever it is called.

    Raises:
        InputError: it cannot be opened, or the library that unpacks it is not installed.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(
                f"{path} is packed with Zstandard: pip install zstandard, or unpack it"
            ) from None
        return io.BufferedReader(_Unpacked(path.open("rb"), zstandard))
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """Zstandard unpacked: its own reader has no lines, errors of another kind, and passes over a cut end."""

    def __init__(self, packed: IO[bytes], zstandard: Any) -> None:
        self._packed, self._zstandard = packed, zstandard
        self._frame, self._left, self._ready = None, b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._left or self._packed.read(1 << 17)
            if not data:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the file is cut off: copy it again")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            try:
                self._ready = memoryview(self._frame.decompress(data))
            except self._zstandard.ZstdError as error:
                raise OSError(f"its packing is damaged ({error})") from error
            self._left = self._frame.unused_data if self._frame.eof else b""
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        self._packed.close()
        super().close()


def _decoded(raw: bytes, path: Path) -> str:
    """The text of the beginning of a file; a character may be cut at its end."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start > len(raw) - 4 and error.end == len(raw):
            return raw[: error.start].decode("utf-8-sig")
        raise InputError(f"{path} is no UTF-8 text (byte {error.start}): save it as UTF-8") from None


def _suffix(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    return next((s for s in reversed(suffixes) if s not in (".gz", ".zst")), "")


def _is_object(line: str) -> bool:
    """Whether a line is one JSON object that is data, and not the keys of a population."""
    try:
        found: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and not {"users", "file", "votes", "polis", "spatial", "ratings"} & set(
        found
    )
