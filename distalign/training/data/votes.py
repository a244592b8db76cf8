"""Real votes on arguments, made into preference pairs, with held-out debates.

A public set that fits: UKPConvArg1 (Habernal and Gurevych, "Which argument is more convincing? Analyzing and
predicting convincingness of Web arguments using bidirectional LSTM", ACL 2016), GitHub
UKPLab/acl2016-convincing-arguments, folder data/UKPConvArg1-full-XML, licence CC BY 4.0, as two CSV files:
votes (topic, first, second, worker, vote) and arguments (argument, topic, text). A topic is a debate's title,
"_", and the side argued for.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distalign.checks import InputError
from distalign.files import write_text
from distalign.inputs import VOTE_SCORES, read_table


@dataclass(frozen=True)
class VotedPair:
    """One preference: the debate is the group; the user is None where many voted."""

    prompt: str
    chosen: str
    rejected: str
    weight: float
    group: str
    user: str | None = None


@dataclass(frozen=True)
class VotedPairs:
    """Preference pairs of a vote.

    Attributes:
        pairs: one per two arguments compared, or one per vote.
        report: counts: votes read, preferences in them, and those left out as tied, as alike in their texts,
            or as too long.
    """

    pairs: tuple[VotedPair, ...]
    report: dict[str, int]


@dataclass(frozen=True)
class _Preference:
    """The same with the arguments' names instead of their texts; a weight of 1/2 says nobody won."""

    topic: str
    winner: str
    loser: str
    weight: float
    user: str | None = None


def pairs_from_votes(
    votes: Path | str, arguments: Path | str, *, per_vote: bool = False, max_words: int | None = None
) -> VotedPairs:
    """Preference pairs from a file of votes and a file of the texts voted on.

    Args:
        votes: CSV (perhaps .gz) with columns topic, first, second, worker (or user), vote: first, second or
            equal.
        arguments: CSV with columns argument, topic, text.
        per_vote: False: one pair for each two arguments compared, the majority's choice, its weight that
            choice's share of the votes, in (1/2, 1], an "equal" counting half to each side; pairs with a
            share of 1/2 are left out. True: one pair of weight 1, with its user, for each vote; "equal" votes
            are left out.
        max_words: leave out pairs with a longer text; None keeps all.

    Raises:
        InputError: a file cannot be read, a column or text is missing, a cell is empty, a vote is none of the
            three words, an argument is compared with itself, or no pair is left.
    """
    table = read_table(votes, ("topic", "first", "second", "vote"), aliases={"worker": "user"}, needs="user")
    rows = [tuple(map(str, row)) for row in table[["topic", "first", "second", "vote", "user"]].to_numpy()]
    _check_votes(rows, votes)
    listed = read_table(arguments, ("topic", "text"), aliases={}, needs="argument")
    texts = {
        (str(topic), str(name)): str(text)
        for topic, name, text in listed[["topic", "argument", "text"]].to_numpy()
    }
    preferences = list(_ballots(rows) if per_vote else _majorities(rows))
    decided = [preference for preference in preferences if preference.weight != 0.5]
    named = [_pair(preference, texts, arguments) for preference in decided]
    distinct = [pair for pair in named if pair.chosen != pair.rejected]
    short = [pair for pair in distinct if max_words is None or _words(pair) <= max_words]
    if not short:
        raise InputError(
            f"{votes}: none of {len(preferences)} pairs is left (tied, alike, or longer than "
            f"max_words={max_words}): raise max_words or give more votes"
        )
    report = {
        "votes": len(rows),
        "preferences": len(preferences),
        "tied": len(preferences) - len(decided),
        "alike": len(named) - len(distinct),
        "too_long": len(distinct) - len(short),
        "kept": len(short),
    }
    return VotedPairs(tuple(short), report)


def prompt_of(topic: str) -> str:
    """The debate's question and the side argued for, in words.

    Example:
        >>> print(prompt_of("is-the-school-uniform-a-good-or-bad-idea-_good"), end="")
        Debate: Is the school uniform a good or bad idea?
        Write a convincing argument for this side: Good.
    """
    title, _, side = topic.partition("_")
    return f"Debate: {_spelt(title)}?\nWrite a convincing argument for this side: {_spelt(side or title)}.\n"


def _spelt(slug: str) -> str:
    text = re.sub(r"(\w) s\b", r"\1's", slug.replace("-", " ").strip())
    return text[:1].upper() + text[1:]


def split_debates(
    pairs: Sequence[VotedPair], held_out: int | Sequence[str], seed: int = 0
) -> tuple[list[VotedPair], list[VotedPair]]:
    """(train, held out), every debate whole on one side of the split.

    So the two sides argued for in a debate stay together.

    Args:
        pairs: of `pairs_from_votes`.
        held_out: how many debates, drawn by `seed`, or their names.
        seed: of the draw.

    Raises:
        InputError: an unknown debate, or nothing left to train on or to hold out.

    Example:
        >>> pairs = [VotedPair("?", "a", "b", 1.0, debate) for debate in ("tea", "milk", "tea")]
        >>> [[pair.group for pair in side] for side in split_debates(pairs, ["milk"])]
        [['tea', 'tea'], ['milk']]
    """
    debates = sorted({pair.group for pair in pairs})
    if isinstance(held_out, int):
        drawn = set(np.random.default_rng(seed).permutation(debates)[: max(held_out, 0)].tolist())
    else:
        drawn = set(held_out)
    unknown = sorted(drawn - set(debates))
    if unknown:
        raise InputError(
            f"held_out: no debate is named {unknown[0]!r}; there are {', '.join(map(repr, debates))}"
        )
    if not 0 < len(drawn) < len(debates):
        raise InputError(
            f"held_out must leave debates on both sides of the split, so 1 to {len(debates) - 1} of the "
            f"{len(debates)} debates, got {held_out!r}"
        )
    return [pair for pair in pairs if pair.group not in drawn], [
        pair for pair in pairs if pair.group in drawn
    ]


def write_pairs(path: Path | str, pairs: Sequence[VotedPair]) -> Path:
    """Write pairs as JSON lines that `distalign.training.data.load.load_preferences` reads.

    A user of None is left out.
    """
    rows = ({key: value for key, value in asdict(pair).items() if value is not None} for pair in pairs)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(Path(path), text)
    return Path(path)


def _check_votes(votes: Sequence[tuple[str, ...]], path: Path | str) -> None:
    for line, (_, first, second, vote, _) in enumerate(votes, 2):
        if vote not in VOTE_SCORES:
            raise InputError(f"{path}: vote must be first, second or equal, got {vote!r} in line {line}")
        if first == second:
            raise InputError(f"{path}: argument {first!r} is compared with itself in line {line}")


def _ballots(votes: Sequence[tuple[str, ...]]) -> Iterator[_Preference]:
    for topic, first, second, vote, user in votes:
        winner, loser = (second, first) if vote == "second" else (first, second)
        yield _Preference(topic, winner, loser, 0.5 if vote == "equal" else 1.0, user)


def _majorities(votes: Sequence[tuple[str, ...]]) -> Iterator[_Preference]:
    """One per two arguments, in whichever order the votes name them."""
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for topic, first, second, vote, _ in votes:
        low, high = sorted((first, second))
        scores[topic, low, high].append(VOTE_SCORES[vote] if low == first else 1.0 - VOTE_SCORES[vote])
    for (topic, low, high), votes_for_low in scores.items():
        won, count = sum(votes_for_low), len(votes_for_low)  # sums of halves are exact
        winner, loser = (low, high) if 2 * won >= count else (high, low)
        yield _Preference(topic, winner, loser, max(won, count - won) / count)


def _pair(preference: _Preference, texts: dict[tuple[str, str], str], path: Path | str) -> VotedPair:
    topic = preference.topic
    for name in (preference.winner, preference.loser):
        if (topic, name) not in texts:
            raise InputError(
                f"{path} has no text of argument {name!r} in topic {topic!r}: add it, or drop its votes"
            )
    return VotedPair(
        prompt_of(topic),
        texts[topic, preference.winner],
        texts[topic, preference.loser],
        preference.weight,
        topic.partition("_")[0],
        preference.user,
    )


def _words(pair: VotedPair) -> int:
    return max(len(pair.chosen.split()), len(pair.rejected.split()))
