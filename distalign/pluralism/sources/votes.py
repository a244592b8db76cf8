"""Real comparisons, read from a file; `distalign.pluralism.survey_fit` turns them into users.

A public set of votes that has the right form is UKPConvArg1 (Habernal and Gurevych, "Which argument is more
convincing?", ACL 2016). It lies at GitHub UKPLab/acl2016-convincing-arguments, folder
data/UKPConvArg1-full-XML, under the licence CC BY 4.0.

Source: the reading is ours; the data are those of their collectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distalign.checks import InputError, suggestion
from distalign.inputs import VOTE_SCORES, read_table
from distalign.types import Array

Codes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Votes:
    """n votes of K users on pairs of m items.

    Attributes:
        user: (n,) code of the voter, an index into `users`.
        first, second: (n,) codes of the two items, indices into `items`.
        score: (n,) 1 if the first was preferred, 0 if the second was, 1/2 for "equal".
        users, items: names of the users and of the items, sorted.
    """

    user: Codes
    first: Codes
    second: Codes
    score: Array
    users: tuple[str, ...]
    items: tuple[str, ...]


def load_votes(path: Path | str, topic: str | None = None) -> Votes:
    """Read votes from a CSV file (or .csv.gz).

    The columns are user (or worker), first, second, vote and, where there are several topics, topic.

    Args:
        path: the file; a vote is one of the words first, second and equal.
        topic: the topic to read; needed if the file holds several.

    Raises:
        InputError: the file cannot be read, a column is missing, a cell is empty, a vote is none of the three
            words, an item is compared with itself, the topic is unknown or ambiguous, or the comparisons
            leave the items unconnected.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> _ = path.write_text("user,first,second,vote\\nann,tea,milk,first\\nbob,tea,milk,equal\\n")
        >>> load_votes(path).items, load_votes(path).score.tolist()
        (('milk', 'tea'), [1.0, 0.5])
    """
    table = read_table(path, ("first", "second", "vote"), aliases={"worker": "user"}, needs="user")
    table = _one_topic(table, topic, path)
    for row, vote in zip(table.index, table["vote"], strict=True):
        if vote not in VOTE_SCORES:
            raise InputError(f"{path}: vote must be first, second or equal, got {vote!r} in line {row + 2}")
    score = np.array([VOTE_SCORES[vote] for vote in table["vote"]])
    users, user = np.unique(table["user"].to_numpy(str), return_inverse=True)
    items, codes = np.unique(table[["first", "second"]].to_numpy(str), return_inverse=True)
    first, second = codes.reshape(-1, 2).T
    if (first == second).any():
        raise InputError(f"{path}: item '{items[first[first == second][0]]}' is compared with itself")
    _check_connected(first, second, len(items), path)
    return Votes(user, first, second, score, tuple(users.tolist()), tuple(items.tolist()))


def _one_topic(table: pd.DataFrame, topic: str | None, path: Path | str) -> pd.DataFrame:
    if "topic" not in table.columns:
        if topic is not None:
            raise InputError(
                f"topic {topic!r} was asked for, but {path} has no column 'topic'; leave the topic out"
            )
        return table
    topics = sorted(set(table["topic"]))
    if topic is None and len(topics) > 1:
        raise InputError(
            f"{path} holds {len(topics)} topics: choose one with topic, for instance {topics[0]!r}"
        )
    if topic is not None and topic not in topics:
        raise InputError(f"topic {topic!r} is not in {path}: {suggestion(topic, topics, shown=3)}")
    return table if topic is None else table.loc[table["topic"] == topic]


def _check_connected(first: Codes, second: Codes, size: int, path: Path | str) -> None:
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(size, size))
    parts, _ = connected_components(graph, directed=False)
    if parts > 1:
        raise InputError(
            f"{path}: the comparisons split the {size} items into {parts} groups that are never compared "
            "with one another, so no common scale exists: keep one group, or one topic"
        )
