"""Real votes as a population: users fitted to the votes, and sentences on how well they fit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from distalign.checks import InputError
from distalign.inputs import read_table
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.votes import Votes, load_votes
from distalign.pluralism.survey_fit import FittedUsers, fit_users


@functools.lru_cache(maxsize=4)
def load_survey(file: str, items: str | None = None, topic: str | None = None, seed: int = 0) -> Scenario:
    """The population of a file of votes: Bradley-Terry users fitted to them, one type for each voter.

    The fit is `distalign.pluralism.survey_fit.fit_users`.

    Args:
        file: CSV or CSV.gz file with columns user (or worker), first, second, vote, and topic where there are
            several.
        items: CSV file of the items' texts, with columns item (or argument) and text.
        topic: the topic to read.
        seed: of the folds of the cross-validation.

    Raises:
        InputError: a file cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> votes = ["ann,tea,milk,first", "bob,milk,beer,second", "cy,tea,beer,equal", "cy,tea,milk,first",
        ...          "ann,tea,beer,first", "bob,tea,beer,first"]
        >>> _ = path.write_text("\\n".join(["user,first,second,vote", *votes]))
        >>> load_survey(str(path)).alternatives
        ('beer', 'milk', 'tea')
    """
    votes = load_votes(file, topic)
    texts = None if items is None else _texts(Path(items), votes)
    with threadpool_limits(1):
        fitted = fit_users(votes, seed=seed)
    users = fitted.users
    return Scenario(
        users.utilities,
        users.weights,
        users.bt_temperature,
        people=len(votes.users),
        alternatives=votes.items,
        texts=texts,
        name=topic or Path(file).name.split(".")[0],
        about=_about(votes, fitted, texts),
    )


def _about(votes: Votes, fitted: FittedUsers, texts: Sequence[str] | None) -> list[str]:
    counts = np.bincount(votes.user)
    told = [
        f"Semi-synthetic: {len(counts)} users calibrated on {len(votes.score)} votes on {len(votes.items)} "
        f"items; half of the users gave {int(np.median(counts))} vote(s) or fewer. A vote on an unseen pair "
        f"has log-likelihood {fitted.held_out:.4f} under individual users and {fitted.held_out_single:.4f} "
        f"under one shared reward (five folds; penalties {fitted.common_penalty:g} and "
        f"{fitted.own_penalty:g}; the fit is within {fitted.certificate:.1g} logits of its optimum).",
        "True utilities are unobserved: the utilities here are a model calibrated on the votes. Comparisons "
        "do not identify the zero of a user's utility: each user's least liked item was put at 0, a "
        "convention on which averages over users depend. All users share one scale, the largest range of any "
        "user, which is bt_temperature. Users with few votes are drawn towards the common utility, so the "
        "fitted users are more alike than the voters.",
    ]
    return told if texts is None else [*told, _length(votes, texts)]


def _length(votes: Votes, texts: Sequence[str]) -> str:
    length = np.array([len(t) for t in texts])
    decided = (votes.score != 0.5) & (length[votes.first] != length[votes.second])
    if not decided.any():
        return "Length baseline: no decided vote was between texts of different length."
    longer = (length[votes.first] > length[votes.second]) == (votes.score == 1)
    return (
        f"Length baseline: the longer text won {100 * longer[decided].mean():.1f} % of the {decided.sum()} "
        "decided votes between texts of different length."
    )


def _texts(path: Path, votes: Votes) -> list[str]:
    table = (
        read_table(path, ("text",), aliases={"argument": "item"}, needs="item")
        .drop_duplicates("item")
        .set_index("item")
    )
    missing = [item for item in votes.items if item not in table.index]
    if missing:
        raise InputError(
            f"{path} has no text for {len(missing)} of the {len(votes.items)} items voted on, among them "
            f"{missing[0]!r}"
        )
    return [str(table.at[item, "text"]) for item in votes.items]
