"""Real comparisons, read from a file; `distalign.pluralism.survey_fit` turns them into users.

A public set of votes that has the right form is UKPConvArg1 (Habernal and Gurevych, "Which argument is more
convincing?", ACL 2016). It lies at GitHub UKPLab/acl2016-convincing-arguments, folder
data/UKPConvArg1-full-XML, under the licence CC BY 4.0.

Source: the reading is ours; the data are those of their collectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distalign.checks import InputError, one_of, suggestion
from distalign.pluralism.sources.adapters import adapter_of
from distalign.pluralism.sources.columns import RATINGS, VOTES, codes_of, roles_of, scores_of
from distalign.pluralism.sources.distinct import Rows, above_zero, count_distinct, distinct_rows, keys, once
from distalign.pluralism.sources.preflib import read_rankings
from distalign.pluralism.sources.tables import (
    Coded,
    coded,
    columns_of,
    kind_of,
    numbers_of,
    place,
    read_columns,
)
from distalign.types import Array

REPEATS = ("count", "merge")
AGAIN = "repeat an earlier one"

Codes = NDArray[Any]
"""Whole numbers; 32 bits where a file may hold tens of millions of them."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes of K users on pairs of m items, in n rows.

    Attributes:
        user: (n,) code of the voter, an index into `users`.
        first, second: (n,) codes of the two items, indices into `items`.
        score: (n,) 1 if the first was preferred, 0 if the second was, 1/2 for "equal"; in [0, 1].
        users, items: names of the users and of the items, sorted.
        weight: (n,) how many votes each row stands for, above 0; None means one each.
        told: sentences on what was changed or decided while the file was read.
    """

    user: Codes
    first: Codes
    second: Codes
    score: Array
    users: tuple[str, ...]
    items: tuple[str, ...]
    weight: Array | None = None
    told: tuple[str, ...] = field(default=())


def load_votes(
    path: Path | str,
    topic: str | None = None,
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    repeats: str = "count",
) -> Votes:
    """Read votes from CSV, TSV, semicolons, Parquet, JSON lines (each also .gz or .zst), or PrefLib rankings.

    Ratings of PRISM, choices of Community Alignment and preference pairs with users are known by their
    columns and become votes (`distalign.pluralism.sources.adapters`); the topic is then a conversation
    type, or the prompt. Otherwise a table has the columns user, first, second, vote and, where there are
    several topics, topic; a column weight (or count) says how many votes a row stands for.
    `distalign.pluralism.sources.columns` lists the synonyms of names and of answers. "Both bad" counts as
    "equal" unless `values` says `skip`. Rankings (.soc, .soi, .toc, .toi) become one vote on each pair that
    a person ranked.

    Votes of the same user on the same pair with the same answer, whichever option was named first, become
    one row of `Votes`, where the first of them stood. With `count` its weight is how many there are, or the
    sum of their weights. With `merge` a person who says the same again adds nothing: the row stands for one
    vote, and where the file has weights, for the largest of theirs. A file (other than JSON lines and the
    kinds above) is read in parts, so that memory grows with the different votes in it and not with its
    length.

    Args:
        path: the file.
        topic: the topic to read; needed if the file holds several.
        columns: the column of each role whose name is no synonym, such as {"user": "labelled by"}.
        values: what a word in the column of votes means: `first`, `second`, `equal` or `skip`.
        repeats: `count` or `merge`, what becomes of a vote that was given again.

    Raises:
        InputError: the file cannot be read or is of another kind, a column is missing or two fit, a cell is
            empty, a vote has no meaning, a weight is not above 0, an item is compared with itself, the topic
            is unknown or ambiguous, the comparisons leave the items unconnected, or `repeats` is another
            word.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> _ = path.write_text("user,first,second,vote\\nann,tea,milk,first\\nbob,tea,milk,equal\\n")
        >>> load_votes(path).items, load_votes(path).score.tolist()
        (('milk', 'tea'), [1.0, 0.5])
    """
    one_of("repeats", repeats, REPEATS)
    path = Path(path)
    if kind_of(path) == "rankings":
        if topic or columns or values or repeats == "merge":
            raise InputError(
                f"topic, columns, values and repeats are for tables of votes; {path} holds rankings"
            )
        return _of_rankings(path)
    role, rows, table, told = _rows_of(path, topic, columns or {}, repeats)
    topic = topic if table is None else None  # an adapter keeps the topic's rows alone
    keep = _one_topic(rows.text.get(role.get("topic", "")), topic, path, len(rows.text[role["vote"]].code))
    (user,), users, changed_users = codes_of({role["user"]: rows.text[role["user"]]}, path, rows)
    both = {role[k]: rows.text[role[k]] for k in ("first", "second")}
    (first, second), items, changed = codes_of(both, path, rows)
    score, bad = scores_of(
        rows.text[role["vote"]], role["vote"], first, second, items, values or {}, path, rows
    )
    rows.text.clear()
    if rows.weight is not None and np.isnan(rows.weight).any():
        name = role["weight"]
        _check_weights(path, read_columns(path, [name]) if table is None else table, name)
    same = np.flatnonzero(first == second)
    if len(same):
        raise InputError(
            f"{path}: item {items[first[same[0]]]!r} is compared with itself in {rows.place(path, same[0])}"
        )
    if changed + changed_users:
        told.append(
            f"{changed + changed_users} names had blanks at their ends or accents that were not composed; "
            "they were brought to one form, so that one name stands for one thing."
        )
    if bad:
        told.append(
            f'{bad} votes say "both bad" and count as "equal"; --values "neither=skip" leaves such out.'
        )
    if np.isnan(score[keep]).any():
        told.append(f"{rows.total(keep & np.isnan(score))} votes were left out, as asked (skip).")
    keep = keep & ~np.isnan(score)
    if not keep.any():
        raise InputError(f"{path} holds no votes: every one was left out")
    given = rows.total(keep)
    weight = rows.weight
    if weight is None and rows.count is not None and repeats == "count":
        weight = rows.count.astype(float)
    held = [user, first, second, score, weight]
    del user, first, second, score, weight, rows
    votes = _once(_kept(keep, held, users, items), repeats)
    if given == len(votes.score) and "weight" not in role:
        votes = replace(votes, weight=None)  # repeats there were, but in another topic
    told += _of_counts(votes, given, role.get("weight"), repeats)
    check_connected(votes.first, votes.second, len(votes.items), path)
    return replace(votes, told=tuple(told))


def _of_counts(votes: Votes, given: int, weight: str | None, repeats: str) -> list[str]:
    """What there is to say of weights and of repeats; `given` rows became these votes."""
    told = []
    if weight is not None and votes.weight is not None:
        told.append(
            f"Column {weight!r} says how many votes a row stands for: they sum to {votes.weight.sum():g}. In "
            "the population each user counts once, however many votes he gave."
        )
    if given > len(votes.score):
        what = "They count as more votes."
        if repeats == "merge":
            largest = ", with the largest of its weights" if weight is not None else ""
            what = f"They were merged: each such vote stands once{largest}."
        told.append(f"{given - len(votes.score)} rows {AGAIN}: the same user, pair and answer. {what}")
    return told


def _rows_of(
    path: Path, topic: str | None, columns: Mapping[str, str], repeats: str
) -> tuple[dict[str, str], Rows, pd.DataFrame | None, list[str]]:
    """The column of each role, the rows, the table that an adapter made (or None), and what it told."""
    present = columns_of(path)
    adapter = None if columns else adapter_of(present)
    if adapter is not None:
        table, told = adapter(path, topic)
        text = {str(c): coded(x) for c, x in table.items() if c != "weight"}
        weight = above_zero(table["weight"]) if "weight" in table else None  # pyright: ignore[reportArgumentType]
        return {str(c): str(c) for c in table}, Rows(text, weight), table, [*told]
    role = roles_of(present, VOTES, columns, path)
    _check_roles(role, present, path)
    names = [column for name, column in role.items() if name != "weight"]
    return role, distinct_rows(path, names, role.get("weight"), largest=repeats == "merge"), None, []


def _check_weights(path: Path, table: pd.DataFrame, column: str) -> None:
    """Raise for the first weight that is none."""
    weight = numbers_of(table, column, path)
    if not weight.min() > 0:
        row = int(np.argmin(weight))
        raise InputError(
            f"{path}: column {column!r} holds {weight[row]:g} in {place(path, row)}: a weight says how many "
            "votes a row stands for and must be above 0; leave other rows out"
        )


def _kept(
    keep: NDArray[np.bool_], columns: list[Any], users: tuple[str, ...], items: tuple[str, ...]
) -> Votes:
    """The votes that are kept, with codes of those users and items that occur in them.

    `columns` (user, first, second, score and weight) is emptied, so that none of them is held twice.
    """
    if not keep.all():
        columns[:] = [None if column is None else column[keep] for column in columns]
    weight, score = columns.pop(), columns.pop()
    which, first, second = _used([columns.pop(1), columns.pop()], len(items))
    who, user = _used([columns.pop()], len(users))
    return Votes(
        user, first, second, score, tuple(users[i] for i in who), tuple(items[i] for i in which), weight
    )


def _used(codes: list[Codes], size: int) -> list[Codes]:
    """The codes that occur in some columns, and the columns with codes of those alone."""
    occurs = np.zeros(size, bool)
    for code in codes:
        occurs[code] = True
    new = (np.cumsum(occurs) - 1).astype(np.int32)
    return [np.flatnonzero(occurs), *(new[code] for code in codes)]


def _check_roles(role: Mapping[str, str], present: list[str], path: Path) -> None:
    for name in ("user", "first", "second", "vote"):
        if name not in role:
            ratings = set(roles_of(present, RATINGS, {}, path)) == set(RATINGS)
            more = (
                "it looks like ratings (user, item, rating): give it as a population, without --votes"
                if ratings
                else f"name it with --columns {name}=... (in YAML: columns: {{{name}: ...}})"
            )
            raise InputError(f"{path} has no column {name!r}; it has {', '.join(map(repr, present))}: {more}")


def _one_topic(column: Coded | None, topic: str | None, path: Path, rows: int) -> NDArray[np.bool_]:
    """Which votes belong to the topic."""
    if column is None:
        if topic is not None:
            raise InputError(
                f"topic {topic!r} was asked for, but {path} has no column 'topic'; leave the topic out"
            )
        return np.ones(rows, bool)
    names = [word.strip() for word in column.words]
    topics = sorted(set(names))
    if topic is None and len(topics) > 1:
        raise InputError(
            f"{path} holds {len(topics)} topics: choose one with topic, for instance {topics[0]!r}"
        )
    if topic is not None and topic not in topics:
        raise InputError(f"topic {topic!r} is not in {path}: {suggestion(topic, topics, shown=3)}")
    return np.array([topic in (None, name) for name in names])[column.code]


def _once(votes: Votes, repeats: str) -> Votes:
    """The votes with those of the same user, pair and answer in one row, the first of them."""
    known, size = np.unique(votes.score), len(votes.items)
    as_said, turned = np.round(known, 12), np.round(1 - known, 12)  # 1 - 0.9 is not quite 0.1
    answers = np.unique(np.concatenate([as_said, turned]))
    at = np.searchsorted(known, votes.score).astype(np.int32)
    answer = np.where(
        votes.first > votes.second,
        np.searchsorted(answers, turned).astype(np.int32)[at],
        np.searchsorted(answers, as_said).astype(np.int32)[at],
    )
    low, high = np.minimum(votes.first, votes.second), np.maximum(votes.first, votes.second)
    key = keys([votes.user, low, high, answer], [len(votes.users), size, size, len(answers)])
    del at, answer, low, high
    if count_distinct(key) == len(key):
        return votes
    merged, weight = repeats == "merge", votes.weight
    if weight is None and not merged:
        weight = np.ones(len(key))
    kept, (weight,) = once(key, [(np.maximum if merged else np.add, weight)])
    user, first, second, score = votes.user, votes.first, votes.second, votes.score
    users, items = votes.users, votes.items
    del key, votes  # so that no column is held twice
    user, first, second, score = user[kept], first[kept], second[kept], score[kept]
    return Votes(user, first, second, score, users, items, weight)


def _of_rankings(path: Path) -> Votes:
    found = read_rankings(path)
    order, first, second, score = found.pairs()
    voters = int(found.counts.sum())
    if len(order) and float(np.bincount(order, minlength=len(found.counts)) @ found.counts) > 5e7:
        raise InputError(f"{path}: {voters} rankings hold more than 50 million pairs: draw a sample of them")
    start = np.concatenate([[0], np.cumsum(found.counts)[:-1]])
    times = found.counts[order]
    nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    user = np.repeat(start[order], times) + nth
    told = (
        f"{voters} rankings became votes: every pair that a person ranked is one vote (pairwise breaking, "
        'not Plackett-Luce), a tie is an "equal", and alternatives left out of a ranking are not compared. '
        "Votes from one ranking agree with one another, so the cross-validation sees less noise than new "
        "rankings would have.",
    )
    everyone = tuple(f"voter {i + 1}" for i in range(voters))
    columns = [user, *(np.repeat(column, times) for column in (first, second, score)), None]
    votes = _kept(np.ones(len(user), bool), columns, everyone, found.alternatives)
    check_connected(votes.first, votes.second, len(votes.items), path)
    return Votes(votes.user, votes.first, votes.second, votes.score, votes.users, votes.items, told=told)


def check_connected(first: Codes, second: Codes, size: int, path: Path | str) -> None:
    """Raise unless every item is linked to every other by comparisons."""
    edges = np.unique(first.astype(np.int64) * size + second)
    graph = coo_array((np.ones(len(edges)), (edges // size, edges % size)), shape=(size, size))
    parts, _ = connected_components(graph, directed=False)
    if parts > 1:
        raise InputError(
            f"{path}: the comparisons split the {size} items into {parts} groups that are never compared "
            "with one another, so no common scale exists: keep one group, or one topic"
        )
