"""Opinions from a Polis conversation, as users: agree, pass and disagree become utilities 1, 1/2 and 0.

Public conversations lie at GitHub compdemocracy/openData, in one folder each, with comments.csv and either
participants-votes.csv (one row a participant) or votes.csv (a log, one row a vote), or both: for instance
american-assembly.bowling-green, vtaiwan.uberx or football-concussions. The data was gathered using the Polis
software (compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with Attribution to The Computational
Democracy Project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from distalign.checks import InputError, inside_unit
from distalign.pluralism.scenario import Scenario
from distalign.populations._arrays import at_least

ATTRIBUTION = (
    "Data was gathered using the Polis software (see: compdemocracy.org/polis and "
    "github.com/compdemocracy/polis) and is sub-licensed under CC BY 4.0 with Attribution to The "
    "Computational Democracy Project."
)


_META = ("is-meta", "is_meta", "meta")


def load_polis(folder: Path | str, statements: int = 12, seen: float = 1.0, meta: bool = False) -> Scenario:
    """A population of those participants of one conversation who saw its most answered statements.

    The alternatives are the `statements` most answered statements that moderators did not reject; the
    question is which of them a policy should put forward. The users are the participants who answered at
    least the share `seen` of them. With seen = 1 no answer is imputed, and all other participants are left
    out. With a smaller share, a statement that a participant did not see counts as a pass. The groups are the
    published opinion groups; a log of votes has none.

    In the log the last vote of a participant on a statement counts. Statements about the participants
    themselves (marked in a column is-meta of comments.csv, where there is one) are left out unless `meta`.
    Whether 1 or -1 stands for agreement is decided by the counts that the files give: n-agree and n-disagree
    of the participants, or agrees and disagrees of the statements.

    A vote says on which side of a statement somebody stands, and not how strongly. Those who stay to answer
    many statements are no random sample. So the population is semi-synthetic, calibrated on the conversation.

    Args:
        folder: holds comments.csv and participants-votes.csv or votes.csv, each perhaps with .gz; or the log
            votes.csv itself, beside comments.csv.
        statements: number of statements, at least 2.
        seen: share of the statements that a participant must have answered, above 0 and at most 1.
        meta: whether meta statements are kept.

    Raises:
        InputError: a file or a column is missing, a vote is none of 1, 0 and -1, the counts fit neither sign,
            or nobody answered enough statements.

    Source: data as above; the reading as utilities is ours.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> votes = ["participant,group-id,0,1", "7,0,1,-1", "8,1,0,", "9,1,-1,1"]
        >>> _ = (place / "participants-votes.csv").write_text("\\n".join(votes))
        >>> comments = ["comment-id,agrees,disagrees,comment-body", "0,1,1,Yes!", "1,1,1,No."]
        >>> _ = (place / "comments.csv").write_text("\\n".join(comments))
        >>> two = load_polis(place, statements=2)
        >>> two.utilities.tolist(), two.groups, two.texts
        ([[1.0, 0.0], [0.0, 1.0]], ('0', '1'), ('Yes!', 'No.'))
    """
    at_least("statements", statements, 2)
    if seen != 1:
        inside_unit("seen", seen, "1 keeps participants who answered every statement selected")
    log = Path(folder) if Path(folder).is_file() else None
    folder = Path(folder).parent if log else Path(folder)
    comments = _read(folder, "comments", ("comment-id", "comment-body", "agrees", "disagrees")).set_index(
        "comment-id"
    )
    if log or not _path(folder, "participants-votes"):
        raw, groups, counts, told = _of_log(_read(folder, "votes", ("comment-id", "voter-id", "vote"), log))
    else:
        raw, groups, counts, told = _of_participants(
            _read(folder, "participants-votes", ("participant", "group-id"))
        )
    answers = _answers(raw, comments, counts, folder, meta, told)
    if answers.shape[1] < statements:
        raise InputError(
            f"statements is {statements}, but {folder} has {answers.shape[1]} that moderators did not reject"
        )
    selected = answers[answers.notna().sum().sort_values(ascending=False, kind="stable").index[:statements]]
    people = selected.notna().mean(axis=1) >= seen - 1e-12
    if people.sum() < 1:
        raise InputError(
            f"nobody in {folder} answered {seen:.0%} of the {statements} most answered statements: lower "
            "seen or statements"
        )
    inside = selected.loc[people]
    named = None if groups is None else [str(int(g)) if np.isfinite(g) else "none" for g in groups[people]]
    utilities = (1 + inside.fillna(0).to_numpy(float)) / 2
    missing = inside.isna().to_numpy()
    about = (
        f"Semi-synthetic, calibrated on the Polis conversation {folder.name}: agree, pass and disagree "
        f"of {len(inside)} participants on its {statements} most answered statements count as utilities 1, "
        f"1/2 and 0; the other {len(raw) - len(inside)} of {len(raw)} participants answered fewer than "
        f"{seen:.0%} of them and are left out. "
        + (
            f"{missing.sum()} of {missing.size} answers were not given and count as a pass."
            if missing.any()
            else "Every answer was given, none is imputed."
        ),
        *([" ".join(told)] if told else []),
        "True utilities are unobserved: a vote has no strength, and how sharply a participant would choose "
        "between two statements (bt_temperature) is an assumption."
        + (" Groups are the opinion groups published with the conversation." if named else ""),
        ATTRIBUTION,
    )
    texts = [" ".join(str(comments["comment-body"].get(int(s), "")).split()) for s in selected.columns]
    return Scenario(
        utilities,
        groups=named,
        people=len(inside),
        alternatives=[f"statement {s}" for s in selected.columns],
        texts=texts,
        name=folder.name,
        about=about,
    )


Counts = tuple[np.ndarray, np.ndarray, int]
"""n-agree and n-disagree as published, and the axis of the table of votes that they count over."""


def _of_participants(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray | None, Counts | None, list[str]]:
    """(participants, statements) votes, opinion groups, the published counts, and what was decided."""
    votes = pd.DataFrame(table[[c for c in table.columns if c.isdigit()]])
    counts = None
    if {"n-agree", "n-disagree"} <= set(table.columns):
        counts = (table["n-agree"].to_numpy(float), table["n-disagree"].to_numpy(float), 1)
    return votes, table["group-id"].to_numpy(float), counts, []


def _of_log(log: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray | None, Counts | None, list[str]]:
    """The same from a log of votes, of which the last of a participant on a statement counts."""
    if "timestamp" in log:
        log = log.sort_values("timestamp", kind="stable")
    last = log.drop_duplicates(["voter-id", "comment-id"], keep="last")
    votes = last.pivot(index="voter-id", columns="comment-id", values="vote").rename(columns=str)
    changed = len(log) - len(last)
    told = f"{changed} votes of the log were changed by a later one of the same participant; the last counts."
    return votes.reset_index(drop=True), None, None, [told] if changed else []


def _answers(
    votes: pd.DataFrame,
    comments: pd.DataFrame,
    counts: Counts | None,
    folder: Path,
    meta: bool,
    told: list[str],
) -> pd.DataFrame:
    """(participants, statements) of 1, 0, -1 and NaN: signs settled, without rejected and meta statements."""
    try:
        answers = votes.astype(float)
    except ValueError as error:
        raise InputError(f"{folder}: a vote is no number: {error}") from error
    wrong = ~(answers.isin([1, 0, -1]) | answers.isna())
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        raise InputError(
            f"{folder}: votes must be 1 (agree), 0 (pass), -1 (disagree) or empty, got "
            f"{answers.iat[row, column]:g} for statement {votes.columns[column]} of participant {row + 1}"
        )
    about = comments.reindex([int(c) for c in votes.columns])
    published = counts or (about["agrees"].to_numpy(float), about["disagrees"].to_numpy(float), 0)
    if _reversed(answers, published, folder):
        answers = -answers
        told.append(
            "In these files 1 stands for disagreement, going by the published counts: signs were turned."
        )
    left_out = about["moderated"].to_numpy() == -1 if "moderated" in about else np.zeros(len(about), bool)
    marked = next((c for c in _META if c in about), None)
    if marked and not meta:
        own = (
            about[marked]
            .astype(str)
            .str.strip()
            .str.lower()
            .isin(["true", "t", "1", "1.0", "yes"])
            .to_numpy()
        )
        told.extend(
            [f"{own.sum()} meta statements, about the participants themselves, were left out."]
            * bool(own.any())
        )
        left_out |= own
    return answers.loc[:, ~left_out]


def _reversed(answers: pd.DataFrame, published: Counts, folder: Path) -> bool:
    """Whether 1 counts disagreement: the published counts are nearer to the votes the other way round.

    A participant's counts may be of more statements than the file has, so they need not be equal.
    """
    agree, disagree, axis = published
    ones, minus = ((answers == v).sum(axis=axis).to_numpy(float) for v in (1, -1))
    same = np.nansum(np.abs(ones - agree)) + np.nansum(np.abs(minus - disagree))
    turned = np.nansum(np.abs(ones - disagree)) + np.nansum(np.abs(minus - agree))
    if same == turned and np.nansum(agree) != np.nansum(disagree):
        raise InputError(
            f"{folder}: the published counts of agreement fit votes of 1 as well as votes of -1: they are of "
            "other votes than the file holds"
        )
    return bool(turned < same)


def _path(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if p.is_file()), None)


def _read(folder: Path, name: str, columns: tuple[str, ...], path: Path | None = None) -> pd.DataFrame:
    path = path or _path(folder, name)
    if path is None:
        raise InputError(
            f"{folder} holds no {name}.csv (or .csv.gz): a Polis folder has comments.csv, and "
            "participants-votes.csv or votes.csv"
        )
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"{path} has no column {column!r}; it has {', '.join(map(repr, list(table.columns)[:8]))} ..."
            )
    return table
