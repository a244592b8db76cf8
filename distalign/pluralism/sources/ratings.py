"""Tables of ratings (user, item, rating) as a population: the ratings themselves, or users fitted to pairs.

Source: ours.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from distalign.checks import InputError, one_of
from distalign.files import file_digest
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.columns import RATINGS, codes_of, roles_of
from distalign.pluralism.sources.survey import Words, fitted_population
from distalign.pluralism.sources.tables import coded_columns, columns_of, numbers_of, place, read_columns
from distalign.pluralism.sources.votes import Codes, Votes, check_connected
from distalign.types import Array

READINGS = ("utilities", "pairs")
_LARGEST = 50_000_000


def load_ratings(
    file: str,
    reading: str | None = None,
    columns: Words = (),
    seed: int = 0,
    store: Path | None = None,
) -> Scenario:
    """The population of a table with one row a rating, in any format of `load_votes`.

    As utilities, one type a user: (rating - lowest) / (highest - lowest), with the ends of the whole table
    and the same for everybody. As pairs, one vote for each two items that a user rated: the higher rating
    wins, equal ratings are an "equal"; users are then fitted as they are to votes.

    Args:
        file: table with columns user, item, rating.
        reading: "utilities", which needs a rating of every user for every item, or "pairs"; None takes
            utilities where no rating is missing and pairs otherwise.
        columns: pairs of a role and its column, for columns whose name is no synonym.
        seed: of the folds of the cross-validation, for pairs.
        store: folder in which a fit is kept.

    Raises:
        InputError: the table cannot be used, a user rated an item twice, a rating is no number, ratings are
            all the same, or a rating is missing for utilities.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ratings.csv"
        >>> _ = path.write_text("user,item,rating\\nann,tea,5\\nann,milk,1\\nbob,tea,3\\nbob,milk,2\\n")
        >>> load_ratings(str(path)).utilities.tolist(), load_ratings(str(path)).alternatives
        ([[0.0, 1.0], [0.25, 0.5]], ('milk', 'tea'))
    """
    if reading is not None:
        one_of("reading", reading, READINGS)
    return _loaded(file, reading, columns, seed, store, file_digest(file))


@functools.lru_cache(maxsize=4)
def _loaded(
    file: str,
    reading: str | None,
    columns: Words,
    seed: int,
    store: Path | None,
    _contents: str,  # a file that was changed is read again
) -> Scenario:
    path = Path(file)
    present = columns_of(path)
    role = roles_of(present, RATINGS, dict(columns), path)
    for name in RATINGS:
        if name not in role:
            raise InputError(f"{path} has no column {name!r}; it has {', '.join(map(repr, present))}")
    coded = coded_columns(path, [role["user"], role["item"]])
    (user,), users, _ = codes_of({role["user"]: coded[role["user"]]}, path)
    (item,), items, _ = codes_of({role["item"]: coded[role["item"]]}, path)
    rating = numbers_of(read_columns(path, [role["rating"]]), role["rating"], path)
    cell = user.astype(np.int64) * len(items) + item
    _, first = np.unique(cell, return_index=True)
    if len(first) < len(cell):
        row = int(np.setdiff1d(np.arange(len(cell)), first)[0])
        raise InputError(
            f"{path}: {users[user[row]]!r} rated {items[item[row]]!r} twice, again in {place(path, row)}: "
            "keep one rating"
        )
    low, high = float(rating.min()), float(rating.max())
    if low == high:
        raise InputError(f"{path}: every rating is {low:g}, so nobody prefers anything")
    name, missing = path.name.split(".")[0], len(users) * len(items) - len(cell)
    if reading == "pairs" or (reading is None and missing):
        votes = _pairs(user, item, rating, users, items, path)
        return fitted_population(votes, name, None, seed, store)
    if missing:
        raise InputError(
            f"{path} lacks {missing} of the {len(users) * len(items)} ratings: read it as pairs (in YAML: "
            "ratings: {file: ..., reading: pairs})"
        )
    utilities = np.empty(len(cell))
    utilities[cell] = (rating - low) / (high - low)
    return Scenario(
        utilities.reshape(len(users), len(items)),
        people=len(users),
        alternatives=items,
        name=name,
        about=[
            f"Semi-synthetic: {len(users)} users whose utilities are their ratings of {len(items)} items. "
            f"The lowest rating, {low:g}, is utility 0 and the highest, {high:g}, is 1, for everybody: "
            "distortion depends on this zero. How sharply a user would choose (bt_temperature) is an "
            "assumption."
        ],
    )


def _pairs(
    user: Codes, item: Codes, rating: Array, users: tuple[str, ...], items: tuple[str, ...], path: Path
) -> Votes:
    """One vote for each two items that the same user rated."""
    order = np.argsort(user, kind="stable")
    count = np.bincount(user, minlength=len(users))
    start = np.cumsum(count) - count
    total = int((count * (count - 1) // 2).sum())
    if total > _LARGEST:
        raise InputError(f"{path} makes {total} pairs, more than 50 million: draw a sample of the users")
    if not total:
        raise InputError(f"{path}: nobody rated two items, so nothing is compared")
    found: list[tuple[Codes, Codes]] = []
    for size in np.unique(count[count > 1]):  # all users with as many ratings at once
        rows = start[count == size][:, None] + np.arange(size)
        i, j = np.triu_indices(size, 1)
        found.append((order[rows[:, i].ravel()], order[rows[:, j].ravel()]))
    first, second = (np.concatenate(side) for side in zip(*found, strict=True))
    score = np.where(rating[first] > rating[second], 1.0, np.where(rating[first] < rating[second], 0.0, 0.5))
    check_connected(item[first], item[second], len(items), path)
    rated = np.unique(user[first], return_inverse=True)
    told = (
        f"{len(rating)} ratings became {total} votes: one for each two items that a user rated, the higher "
        'rating wins and equal ratings are an "equal"; by how much one was higher is not used. A user of '
        f"many ratings gives many votes; {len(users) - len(rated[0])} users who rated one item are left out.",
    )
    return Votes(
        rated[1].reshape(-1),
        item[first],
        item[second],
        score,
        tuple(users[i] for i in rated[0]),
        items,
        told=told,
    )
