"""The different rows of a table, with how often each stands there; memory grows with them, not with the file.

A file of votes is read a batch at a time. Its words become codes, and where most of the rows that are held
repeat another one, each is held once with its count. Rows stay in the order in which they first occur, so
what is found in them is found as it would be in the file.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distalign.checks import InputError
from distalign.pluralism.sources.tables import (
    Coded,
    batches,
    coded,
    kind_of,
    place,
    read_columns,
    text_of,
)
from distalign.types import Array

if TYPE_CHECKING:
    import pyarrow

HELD = 2**22  # rows that are held before repeats among them are looked for
GROWTH = 4  # times as many rows as were different are held before they are looked for again


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table, some of them standing for several that are the same.

    Attributes:
        text: each column as codes of its words, n of them.
        weight: (n,) numbers of the column of weights, summed over the rows that are the same (or the largest
            of them); NaN where one of them is no finite number above 0. None where there is no such column.
        row: (n,) the first row of the table that is so; None where every row stands for itself.
        count: (n,) how many rows are so; None where every row stands for itself.
    """

    text: dict[str, Coded]
    weight: Array | None = None
    row: NDArray[np.int64] | None = None
    count: NDArray[np.int64] | None = None

    def place(self, path: Path, index: int) -> str:
        """Where such a row first stands, in words."""
        return place(path, index if self.row is None else int(self.row[index]))

    def total(self, chosen: NDArray[np.bool_]) -> int:
        """How many rows of the table the chosen ones stand for."""
        return int((chosen if self.count is None else self.count[chosen]).sum())


def distinct_rows(path: Path, names: Sequence[str], weight: str | None, largest: bool) -> Rows:
    """The rows of some columns; repeated ones may stand once, with their count.

    Args:
        path: a table in a format of `distalign.pluralism.sources.tables`. JSON lines are held whole.
        names: the columns that make rows the same.
        weight: a column of numbers; None means there is none.
        largest: of the weights of repeated rows the largest is kept, and not their sum.

    Raises:
        InputError: the file cannot be read, or it has no rows.
    """
    names = list(dict.fromkeys(names))
    if kind_of(path) == "json lines":
        table = read_columns(path, [*names, *([weight] if weight else [])])
        text = {name: coded(table[name]) for name in names}  # pyright: ignore[reportArgumentType]
        return Rows(text, above_zero(table[weight]) if weight else None)  # pyright: ignore[reportArgumentType]
    held: list[_Part] = []
    join, rows, limit, read = np.maximum if largest else np.add, 0, HELD, 0
    for batch in batches(path, [*names, *([weight] if weight else [])]):
        size = len(batch)
        numbers = above_zero(batch.column(weight).to_pandas()) if weight else None
        columns = [_encoded(batch.column(name)) for name in names]
        held.append(_Part(columns, np.arange(read, read + size), np.ones(size, np.int64), numbers))
        rows, read = rows + size, read + size
        if rows > limit:
            held = [_once(_joined(held), join)]
            rows = len(held[0].row)
            limit = max(HELD, GROWTH * rows)
    if not read:
        raise InputError(f"{path} holds no rows")
    whole = _joined(held)
    text = {
        name: Coded(code, tuple(text_of(words.to_pandas())))
        for name, (code, words) in zip(names, whole.columns, strict=True)
    }
    if len(whole.row) == read:
        return Rows(text, whole.weight)
    return Rows(text, whole.weight, whole.row, whole.count)


def above_zero(column: pd.Series) -> Array:
    """Numbers; NaN where one is not finite or not above 0.

    Example:
        >>> above_zero(pd.Series(["2", "x", "0"])).tolist()
        [2.0, nan, nan]
    """
    found = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    return np.where(np.isfinite(found) & (found > 0), found, np.nan)


def keys(codes: Sequence[NDArray[Any]], sizes: Sequence[int]) -> NDArray[np.int64]:
    """(n,) whole numbers, equal where all codes are.

    Args:
        codes: columns of whole numbers, (n,) each.
        sizes: each column is below its size, at most 2^31.

    Example:
        >>> keys([np.array([0, 1, 0]), np.array([2, 2, 2])], [2, 3]).tolist()
        [2, 5, 2]
    """
    key, below = np.zeros(len(codes[0]), np.int64), 1
    for code, size in zip(codes, sizes, strict=True):
        if below * size > 2**62:  # more combinations than whole numbers: those that occur are numbered
            known, key = np.unique(key, return_inverse=True)
            below = len(known)
        key *= size
        key += code
        below *= size
    return key


def count_distinct(key: NDArray[np.int64]) -> int:
    """How many different numbers there are."""
    key = np.sort(key)
    return int((key[1:] != key[:-1]).sum()) + (len(key) > 0)


def once(
    key: NDArray[np.int64], columns: Sequence[tuple[np.ufunc, NDArray[Any] | None]]
) -> tuple[NDArray[np.bool_], list[Any]]:
    """The first row of each key, and columns joined over the rows that share one.

    Args:
        key: (n,) whole numbers.
        columns: how entries of rows with one key are joined, such as `numpy.add`, and numbers of the rows,
            (n,) each; None stays None.

    Returns:
        Which rows are the first of their key, and a number for each of these and each column.

    Example:
        >>> kept, (times,) = once(np.array([7, 3, 7]), [(np.add, np.ones(3))])
        >>> kept.tolist(), times.tolist()
        ([True, True, False], [2.0, 1.0])
    """
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    del ordered
    first = order[start]
    kept = np.zeros(len(order), bool)
    kept[first] = True
    joined: list[Any] = []
    for join, column in columns:
        if column is None:
            joined.append(None)
            continue
        at_first = np.empty_like(column)
        at_first[first] = join.reduceat(column[order], start)
        joined.append(at_first[kept])
    return kept, joined


Words = tuple[NDArray[np.int32], "pyarrow.Array"]
"""A column as codes and the words they stand for; a missing cell is a word too."""


@dataclass(frozen=True, eq=False)
class _Part:
    columns: list[Words]
    row: NDArray[np.int64]
    count: NDArray[np.int64]
    weight: Array | None


def _encoded(column: pyarrow.Array | pyarrow.ChunkedArray) -> Words:
    import pyarrow

    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
    found = column.dictionary_encode(null_encoding="encode")
    return found.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), found.dictionary


def _joined(parts: list[_Part]) -> _Part:
    """Parts in one, with each word once; `parts` is emptied as it goes, so that no column is held twice."""
    weights = [part.weight for part in parts if part.weight is not None]
    whole = _Part(
        [],
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate(weights) if weights else None,
    )
    sides = [part.columns for part in parts]
    parts.clear()
    while sides[0]:
        whole.columns.append(_one_dictionary([columns.pop(0) for columns in sides]))
    return whole


def _one_dictionary(parts: list[Words]) -> Words:
    """Codes of several dictionaries as codes of one."""
    import pyarrow

    place, words = _encoded(pyarrow.chunked_array([words for _, words in parts]))
    start, codes = 0, []
    for code, own in parts:
        codes.append(place[start : start + len(own)][code])
        start += len(own)
    return np.concatenate(codes), words


def _once(part: _Part, join: np.ufunc) -> _Part:
    """The different rows; the same part where they are more than half of all."""
    key = keys([code for code, _ in part.columns], [len(words) for _, words in part.columns])
    if 2 * count_distinct(key) > len(key):
        return part
    kept, (count, weight) = once(key, [(np.add, part.count), (join, part.weight)])
    return _Part([(code[kept], words) for code, words in part.columns], part.row[kept], count, weight)
