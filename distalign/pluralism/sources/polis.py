"""Opinions from a Polis conversation, as users: agree, pass and disagree become utilities 1, 1/2 and 0.

Public conversations lie at GitHub compdemocracy/openData, in one folder each, with participants-votes.csv and
comments.csv: for instance american-assembly.bowling-green, vtaiwan.uberx or football-concussions. The data
was gathered using the Polis software (compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with
Attribution to The Computational Democracy Project.
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


def load_polis(folder: Path | str, statements: int = 12, seen: float = 1.0) -> Scenario:
    """A population of those participants of one conversation who saw its most answered statements.

    The alternatives are the `statements` most answered statements that moderators did not reject; the
    question is which of them a policy should put forward. The users are the participants who answered at
    least the share `seen` of them. With seen = 1 no answer is imputed, and all other participants are left
    out. With a smaller share, a statement that a participant did not see counts as a pass. The groups are the
    published opinion groups.

    A vote says on which side of a statement somebody stands, and not how strongly. Those who stay to answer
    many statements are no random sample. So the population is semi-synthetic, calibrated on the conversation.

    Args:
        folder: holds participants-votes.csv and comments.csv, or both with .gz.
        statements: number of statements, at least 2.
        seen: share of the statements that a participant must have answered, above 0 and at most 1.

    Raises:
        InputError: a file or a column is missing, a vote is none of 1, 0 and -1, the signs are reversed (raw
            exports count -1 as agreement), or nobody answered enough statements.

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
    votes = _read(Path(folder), "participants-votes", ("participant", "group-id"))
    comments = _read(
        Path(folder), "comments", ("comment-id", "comment-body", "agrees", "disagrees")
    ).set_index("comment-id")
    answers = _answers(votes, comments, Path(folder))
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
    groups = [str(int(g)) if np.isfinite(g) else "none" for g in votes.loc[people, "group-id"]]
    utilities = (1 + inside.fillna(0).to_numpy(float)) / 2
    missing = inside.isna().to_numpy()
    about = (
        f"Semi-synthetic, calibrated on the Polis conversation {Path(folder).name}: agree, pass and disagree "
        f"of {len(inside)} participants on its {statements} most answered statements count as utilities 1, "
        f"1/2 and 0; the other {len(votes) - len(inside)} of {len(votes)} participants answered fewer than "
        f"{seen:.0%} of them and are left out. "
        + (
            f"{missing.sum()} of {missing.size} answers were not given and count as a pass."
            if missing.any()
            else "Every answer was given, none is imputed."
        ),
        "True utilities are unobserved: a vote has no strength, and how sharply a participant would choose "
        "between two statements (bt_temperature) is an assumption. Groups are the opinion groups published "
        "with the conversation.",
        ATTRIBUTION,
    )
    texts = [" ".join(str(comments["comment-body"].get(int(s), "")).split()) for s in selected.columns]
    return Scenario(
        utilities,
        groups=groups,
        people=len(inside),
        alternatives=[f"statement {s}" for s in selected.columns],
        texts=texts,
        name=Path(folder).name,
        about=about,
    )


def _answers(votes: pd.DataFrame, comments: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """(participants, statements) of 1, 0, -1 and NaN, without the statements that moderators rejected."""
    columns = [c for c in votes.columns if c.isdigit()]
    try:
        answers = votes[columns].astype(float)
    except ValueError as error:
        raise InputError(f"{folder}: a vote is no number: {error}") from error
    wrong = ~(answers.isin([1, 0, -1]) | answers.isna())
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        raise InputError(
            f"{folder}: votes must be 1 (agree), 0 (pass), -1 (disagree) or empty, got "
            f"{answers.iat[row, column]:g} for statement {columns[column]} in line {row + 2}"
        )
    told = comments.reindex([int(c) for c in columns])
    agree = (answers == 1).sum().to_numpy()
    apart = [np.nansum(np.abs(agree - told[name].to_numpy(float))) for name in ("agrees", "disagrees")]
    if apart[0] > apart[1]:
        raise InputError(
            f"{folder}: 1 counts disagreement here, going by the totals in comments.csv: raw Polis exports "
            "reverse the sign; multiply the votes by -1"
        )
    rejected = told["moderated"].to_numpy() == -1 if "moderated" in told else np.zeros(len(columns), bool)
    return answers.loc[:, ~rejected]


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = next((p for p in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if p.is_file()), None)
    if path is None:
        raise InputError(
            f"{folder} holds no {name}.csv (or .csv.gz): a Polis folder has participants-votes.csv and "
            "comments.csv"
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
