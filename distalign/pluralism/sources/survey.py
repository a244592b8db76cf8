"""Real votes as a population: users fitted to the votes, and sentences on how well they fit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from distalign.checks import InputError, one_of
from distalign.files import file_digest, write_whole
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.columns import codes_of
from distalign.pluralism.sources.tables import coded_columns, columns_of, place, read_columns, text_of
from distalign.pluralism.sources.votes import AGAIN, REPEATS, Votes, load_votes
from distalign.pluralism.survey_fit import (
    COMMON_PENALTIES,
    OWN_PENALTIES,
    FittedUsers,
    Penalties,
    choose_penalties,
    fit_users,
)
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.simulation.source import source_digest, versions

Words = tuple[tuple[str, str], ...]


def load_survey(
    file: str,
    items: str | None = None,
    topic: str | None = None,
    seed: int = 0,
    columns: Words = (),
    values: Words = (),
    store: Path | None = None,
    repeats: str = "count",
) -> Scenario:
    """The population of a file of votes: Bradley-Terry users fitted to them, one type for each voter.

    The fit is `distalign.pluralism.survey_fit.fit_users`.

    Args:
        file: votes or rankings, in a format of `distalign.pluralism.sources.votes.load_votes`.
        items: table of the items' texts, with columns item (or argument) and text.
        topic: the topic to read.
        seed: of the folds of the cross-validation.
        columns: pairs of a role and its column, for columns whose name is no synonym.
        values: pairs of a word in the column of votes and what it means.
        store: folder in which the fit is kept, under a name of the votes and of the code that fits; another
            call with the same votes reads it. None keeps nothing.
        repeats: `count` or `merge`, what becomes of a vote that was given again, as in `load_votes`.

    Raises:
        InputError: a file cannot be used, or `repeats` is another word.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> votes = ["ann,tea,milk,first", "bob,milk,beer,second", "cy,tea,beer,equal", "cy,tea,milk,first",
        ...          "ann,tea,beer,first", "bob,tea,beer,first"]
        >>> _ = path.write_text("\\n".join(["user,first,second,vote", *votes]))
        >>> load_survey(str(path)).alternatives
        ('beer', 'milk', 'tea')
    """
    one_of("repeats", repeats, REPEATS)
    contents = (file_digest(file), file_digest(items) if items else "")
    return _loaded(file, items, topic, seed, columns, values, store, repeats, contents)


@functools.lru_cache(maxsize=4)
def _loaded(
    file: str,
    items: str | None,
    topic: str | None,
    seed: int,
    columns: Words,
    values: Words,
    store: Path | None,
    repeats: str,
    _contents: tuple[str, str],  # a file that was changed is read again
) -> Scenario:
    votes = load_votes(file, topic, dict(columns), dict(values), repeats)
    texts = None if items is None else texts_of(Path(items), votes)
    return fitted_population(votes, topic or Path(file).name.split(".")[0], texts, seed, store)


def fitted_population(
    votes: Votes, name: str, texts: Sequence[str] | None, seed: int, store: Path | None
) -> Scenario:
    """Users fitted to votes; arguments as in `load_survey`."""
    with threadpool_limits(1):
        fitted = fit_users(votes, seed=seed) if store is None else _stored_fit(votes, seed, store)
    users = fitted.users
    return Scenario(
        users.utilities,
        users.weights,
        users.bt_temperature,
        people=len(votes.users),
        alternatives=votes.items,
        texts=texts,
        name=name,
        about=[*_about(votes, fitted, texts), *_paragraphs(votes.told)],
    )


def _stored_fit(votes: Votes, seed: int, store: Path) -> FittedUsers:
    code = source_digest("distalign.pluralism.survey_fit", ("fit_users",))
    name = hashlib.sha256(json.dumps([code, versions(), seed, len(votes.users), len(votes.items)]).encode())
    for part in (votes.user, votes.first, votes.second, votes.score, votes.weight):
        name.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    key = name.hexdigest()[:24]
    fitted, unfinished = _kept_fit(store / f"fit-{key}.npz"), store / f"penalties-{key}.npz"
    if fitted is None:
        penalties = _kept_penalties(unfinished)
        if penalties is None:  # finding them takes most of the time; a killed fit goes on from here
            penalties = choose_penalties(votes, seed=seed)
            _keep(unfinished, dataclasses.asdict(penalties))
        fitted = fit_users(votes, seed=seed, penalties=penalties)
        _keep(
            store / f"fit-{key}.npz",
            {name: getattr(fitted if name not in _USERS else fitted.users, name) for name in _FIT},
        )
    unfinished.unlink(missing_ok=True)  # the fit holds what it says
    return fitted


_PENALTIES = [f.name for f in dataclasses.fields(Penalties)]
_USERS = ("utilities", "weights", "bt_temperature")
_FIT = [*_USERS, *(f.name for f in dataclasses.fields(FittedUsers) if f.name != "users")]


def _kept_penalties(path: Path) -> Penalties | None:
    fields = _kept(path, _PENALTIES)
    return None if fields is None else Penalties(**fields)


def _kept_fit(path: Path) -> FittedUsers | None:
    fields = _kept(path, _FIT)
    if fields is None:
        return None
    return FittedUsers(BradleyTerryUsers(*(fields.pop(name) for name in _USERS)), **fields)


def _keep(path: Path, fields: dict[str, Any]) -> None:
    """Write numbers and arrays as one file whose parts have checksums."""

    def write(to: Path) -> None:
        with to.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **fields)

    write_whole(path, write)


def _kept(path: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """What `_keep` wrote; None where there is no such file or a damaged one: its errors are of many kinds."""
    if path.is_file():
        with (
            contextlib.suppress(Exception),
            np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held,
        ):
            return {name: value if (value := held[name]).ndim else value.item() for name in names}
    return None


def _about(votes: Votes, fitted: FittedUsers, texts: Sequence[str] | None) -> list[str]:
    counts = np.bincount(votes.user, votes.weight)
    told = [
        f"Semi-synthetic: {len(counts)} users calibrated on {counts.sum():.12g} votes on {len(votes.items)} "
        f"items; half of the users gave {int(np.median(counts))} vote(s) or fewer. A vote on an unseen pair "
        f"has log-likelihood {fitted.held_out:.4f} under individual users and {fitted.held_out_single:.4f} "
        f"under one shared reward (five folds{_dealt(votes, fitted)}; penalties "
        f"{fitted.common_penalty:g} and {fitted.own_penalty:g}{_widened(fitted)}; the fit is within "
        f"{fitted.certificate:.1g} logits of its optimum).",
        "True utilities are unobserved: the utilities here are a model calibrated on the votes. Comparisons "
        "do not identify the zero of a user's utility: each user's least liked item was put at 0, a "
        "convention on which averages over users depend. All users share one scale, the largest range of any "
        "user, which is bt_temperature. Users with few votes are drawn towards the common utility, so the "
        "fitted users are more alike than the voters.",
    ]
    return told if texts is None else [*told, _length(votes, texts)]


def _paragraphs(told: Sequence[str]) -> list[str]:
    """What reading the file told: what was repeated, which the first screen shows too, and the rest."""
    again = [sentence for sentence in told if AGAIN in sentence]
    other = " ".join(sentence for sentence in told if AGAIN not in sentence)
    return [*again, *([other] if other else [])]


def _dealt(votes: Votes, fitted: FittedUsers) -> str:
    if fitted.dealt == len(votes.score):
        return ""
    return f" of {fitted.dealt} different votes, of users drawn at random"


def _widened(fitted: FittedUsers) -> str:
    inside = fitted.common_penalty in COMMON_PENALTIES and fitted.own_penalty in OWN_PENALTIES
    return "" if inside else ", for which the grid of penalties was widened"


def _length(votes: Votes, texts: Sequence[str]) -> str:
    length = np.array([len(t) for t in texts])
    decided = (votes.score != 0.5) & (length[votes.first] != length[votes.second])
    if not decided.any():
        return "Length baseline: no decided vote was between texts of different length."
    longer = (length[votes.first] > length[votes.second]) == (votes.score > 0.5)
    weight = (np.ones(len(decided)) if votes.weight is None else votes.weight) * decided
    return (
        f"Length baseline: the longer text won {100 * np.average(longer, weights=weight):.1f} % of the "
        f"{weight.sum():.12g} decided votes between texts of different length."
    )


def texts_of(path: Path, votes: Votes) -> list[str]:
    """The text of each item that was voted on, from a table with columns item (or argument) and text.

    Raises:
        InputError: a column is missing, a text is empty, or an item has none.
    """
    present = columns_of(path)
    item = "item" if "item" in present else "argument"
    for column in (item, "text"):
        if column not in present:
            name = "item" if column == item else column
            raise InputError(f"{path} has no column {name!r}; it has {', '.join(map(repr, present))}")
    table = read_columns(path, [item, "text"])
    (code,), named, _ = codes_of({item: coded_columns(path, [item])[item]}, path)
    texts = text_of(table["text"]).str.strip()  # pyright: ignore[reportArgumentType]
    if (texts == "").any():
        row = int(np.argmax(texts == ""))
        raise InputError(f"{path}: column 'text' is empty in {place(path, row)}")
    told = dict(zip(np.array(named)[code[::-1]].tolist(), texts[::-1], strict=True))  # the first of several
    missing = [name for name in votes.items if name not in told]
    if missing:
        raise InputError(
            f"{path} has no text for {len(missing)} of the {len(votes.items)} items voted on, among them "
            f"{missing[0]!r}"
        )
    return [str(told[name]) for name in votes.items]
