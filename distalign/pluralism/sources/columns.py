"""Which column of a table of votes is which, and what the words in it mean.

Source: ours; the names are those of public data sets (Chatbot Arena: model_a, model_b, winner; AlpacaEval:
output_1, output_2, preference).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError, suggestion
from distalign.pluralism.sources.distinct import Rows
from distalign.pluralism.sources.tables import Coded
from distalign.types import Array

USER = (
    *("user", "worker", "annotator", "user_id", "worker_id", "annotator_id", "participant", "participant_id"),
    *("judge", "voter", "voter_id", "rater", "rater_id", "respondent"),
)
WEIGHT = ("weight", "weights", "count", "counts")
ITEM = ("item", "item_id", "alternative", "response", "argument", "movie", "movie_id", "movieid", "product")
RATING = ("rating", "ratings", "score", "stars")
_VOTE = ("vote", "winner", "choice", "preference", "label", "answer")
_SLOTS = (
    *(("first", "second"), ("left", "right"), ("model_a", "model_b"), ("output_1", "output_2")),
    *(("option_a", "option_b"), ("response_a", "response_b"), ("item_a", "item_b")),
)
VOTES = {
    "user": USER,
    "first": tuple(first for first, _ in _SLOTS),
    "second": tuple(second for _, second in _SLOTS),
    "vote": _VOTE,
    "weight": WEIGHT,
    "topic": ("topic",),
}
RATINGS = {"user": USER, "item": ITEM, "rating": RATING}
_WORDS = {
    **dict.fromkeys(("first", "a", "left", "1", *(f for f, _ in _SLOTS)), 1.0),
    **dict.fromkeys(("second", "b", "right", "2", *(s for _, s in _SLOTS)), 0.0),
    **dict.fromkeys(("equal", "tie", "tied", "draw"), 0.5),
}
_BAD = ("tie (bothbad)", "tie (both bad)", "bothbad", "both bad", "neither")
_MEANINGS = {"first": 1.0, "second": 0.0, "equal": 0.5, "skip": np.nan}


def pairs_of_words(option: str, words: Iterable[str]) -> dict[str, str]:
    """{name: value} from words such as `user=annotator,weight=n`.

    Raises:
        InputError: a word has no `=`, or a name stands twice.

    Example:
        >>> pairs_of_words("--columns", ["user=annotator,weight=n"])
        {'user': 'annotator', 'weight': 'n'}
    """
    found: dict[str, str] = {}
    for word in (part for several in words for part in several.split(",")):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (equals and name and value) or name in found:
            raise InputError(f"{option} is written name=value,name=value with every name once, got {word!r}")
        found[name] = value
    return found


def plain(name: str) -> str:
    """A column's name in lower case, with underscores for blanks and hyphens."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def roles_of(
    present: Sequence[str], roles: Mapping[str, Sequence[str]], given: Mapping[str, str], path: Path | str
) -> dict[str, str]:
    """The column of each role that the table has.

    A role's own name is taken before its synonyms, but for the weight, where one of two columns would be
    lost. Of several that fit none is taken at random: that is refused, and `given` decides.

    Args:
        present: names of the table's columns.
        roles: names by role, the role's own first.
        given: columns by role, as the user names them.
        path: the file, for the sentences.

    Raises:
        InputError: `given` names an unknown role or column, one column has two roles, or two columns fit.
    """
    found: dict[str, str] = {}
    for role, column in given.items():
        if role not in roles:
            raise InputError(f"columns: there is no role {role!r}: {suggestion(role, roles)}")
        if column not in present:
            raise InputError(f"columns: {path} has no column {column!r}: {suggestion(column, present)}")
        found[role] = column
    for role, names in roles.items():
        fit = [c for c in present if plain(c) in names and c not in found.values()]
        own = [c for c in fit if plain(c) == role and role != "weight"]  # weight and count: one would be lost
        if role in found or not fit:
            continue
        if len(own or fit) > 1:
            raise InputError(
                f"{path}: columns {', '.join(map(repr, own or fit))} could each be the {role}: choose with "
                f"--columns {role}={(own or fit)[0]} (in YAML: columns: {{{role}: {(own or fit)[0]}}})"
            )
        found[role] = (own or fit)[0]
    if len(set(found.values())) < len(found):
        raise InputError(f"columns: one column of {path} has two roles: {found}")
    return found


def codes_of(
    columns: Mapping[str, Coded], path: Path, rows: Rows | None = None
) -> tuple[list[NDArray[np.int32]], tuple[str, ...], int]:
    """Names as codes: blanks at the ends are removed, and accents are composed (Unicode NFC).

    Args:
        columns: of names of the same things, by their own name.
        path: the file, for the sentences.
        rows: the rows that the columns belong to, where one may stand for several.

    Returns:
        Codes of each column, the names they stand for (sorted), and how many cells were changed.

    Raises:
        InputError: a cell is empty.
    """
    raw = np.array([w for column in columns.values() for w in column.words], dtype=object)
    clean = np.array([unicodedata.normalize("NFC", w).strip() for w in raw], dtype=object)
    names, code = np.unique(clean.astype(str), return_inverse=True)
    code, different, start = code.reshape(-1).astype(np.int32), clean != raw, 0
    codes, changed, rows = [], 0, rows or Rows(dict(columns))
    for name, column in columns.items():
        own = slice(start, start := start + len(column.words))
        found = code[own][column.code]
        changed += rows.total(different[own][column.code])
        empty = np.flatnonzero(found == np.searchsorted(names, "")) if len(names) and names[0] == "" else []
        if len(empty):
            raise InputError(f"{path}: column {name!r} is empty in {rows.place(path, int(empty[0]))}")
        codes.append(found)
    return codes, tuple(names.tolist()), changed


def scores_of(
    votes: Coded,
    name: str,
    first: NDArray[Any],
    second: NDArray[Any],
    items: Sequence[str],
    given: Mapping[str, str],
    path: Path,
    rows: Rows,
) -> tuple[Array, int]:
    """(n,) the score of each vote: 1 for the first option, 0 for the second, between them for soft ones.

    A vote may be a word (`first`, `a`, `left`, `model_a`, ..., `second`, ..., `equal`, `tie`), the name of
    one of the two options, or a number v between 1 (the first) and 2 (the second), whose score is 2 - v.
    `given` comes before all of them: it maps a word to `first`, `second`, `equal` or `skip` (score NaN).
    `rows` says where a vote stands in the file, and how many it stands for.
    "Both bad" counts as a tie unless `given` says otherwise.

    Returns:
        The scores, and the number of votes that say "both bad" and were counted as ties.

    Raises:
        InputError: `given` maps to another word or names a vote that does not occur, a vote has no meaning,
            or it has two, because an option bears the name of a word or of the other place.
    """
    given = {word.casefold(): meaning for word, meaning in given.items()}
    for word, meaning in given.items():
        if meaning not in _MEANINGS:
            raise InputError(f"values: {word}={meaning}: {suggestion(meaning, _MEANINGS)}")
    code = votes.code
    said = [unicodedata.normalize("NFC", word).strip() for word in votes.words]
    if unused := sorted(given.keys() - {w.casefold() for w in said}):
        raise InputError(
            f"values: no vote in {path} is {unused[0]!r}: {suggestion(unused[0], said, shown=4)}"
        )
    bad = np.array([w.casefold() in _BAD and w.casefold() not in given for w in said], bool)
    fixed = np.array([w.casefold() in given for w in said], bool)
    by_word = np.array([_score(w.casefold(), given) for w in said], float)
    known = np.array([not np.isnan(_score(w.casefold(), {})) for w in said], bool) | fixed
    place_of = {name: i for i, name in enumerate(items)}
    item = np.array([place_of.get(w, -1) for w in said], np.int32)
    score, named, is_first = by_word[code], np.zeros(len(code), bool), np.zeros(len(code), bool)
    if (item >= 0).any():
        is_first = item[code] == first
        named = (is_first | (item[code] == second)) & ~fixed[code]
    two = np.flatnonzero(named & known[code] & (score != is_first))
    if len(two):
        raise InputError(
            f"{path}: vote {said[code[two[0]]]!r} in {rows.place(path, two[0])} is an option's name and a "
            "word for another answer: say which with --values (in YAML: values: {...})"
        )
    lost = np.flatnonzero(~(known[code] | named))
    if len(lost):
        word = said[code[lost[0]]]
        if not word:
            raise InputError(f"{path}: column {name!r} is empty in {rows.place(path, lost[0])}")
        raise InputError(
            f"{path}: vote must be first, second or equal, a word for one of them, one of the two options, "
            f"or a number from 1 (the first) to 2 (the second), got {word!r} in "
            f"{rows.place(path, lost[0])}: --values {word}=first (or second, equal, skip) says what it means"
        )
    score[named] = is_first[named]
    return score, rows.total(bad[code])


def _score(word: str, given: Mapping[str, str]) -> float:
    if word in given:
        return _MEANINGS[given[word]]
    if word in _WORDS:
        return _WORDS[word]
    if word in _BAD:
        return 0.5
    try:
        number = float(word)
    except ValueError:
        return np.nan
    return 2 - number if 1 <= number <= 2 else np.nan
