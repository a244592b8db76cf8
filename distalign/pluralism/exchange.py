"""Votes as training data: the people whom `simulate` fits are those whom `train` learns from.

The way back needs no code of its own: `distalign.pluralism.sources.votes.load_votes` reads a table of
chosen and rejected texts with a user in each row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalign.checks import InputError
from distalign.files import write_text
from distalign.pluralism.sources.survey import texts_of
from distalign.pluralism.sources.votes import Votes, load_votes


def preference_rows(votes: Votes, texts: Sequence[str], prompt: str) -> list[dict[str, Any]]:
    """Rows of `prompt`, `chosen`, `rejected`, `weight` and `user`, as `distalign.training` reads them.

    A vote that counts w times and prefers the first of two items to a degree s in [0, 1] becomes the pair
    with the first as chosen, of weight w s, and the pair with the second as chosen, of weight w (1 - s);
    one of weight 0 is left out. So the weighted mean of a pairwise loss over the rows is its mean over the
    votes, and an "equal" pulls both ways alike.

    Args:
        votes: the votes.
        texts: of the items, in the order of `votes.items`.
        prompt: what the texts answer.

    Raises:
        InputError: there is not one text for each item.

    Example:
        >>> import numpy as np
        >>> one = np.zeros(1, int)
        >>> votes = Votes(one, one, one + 1, np.array([0.5]), ("ann",), ("milk", "tea"))
        >>> for row in preference_rows(votes, ["Milk.", "Tea."], "Which drink?"):
        ...     print(row["chosen"], row["rejected"], row["weight"], row["user"])
        Milk. Tea. 0.5 ann
        Tea. Milk. 0.5 ann
    """
    if len(texts) != len(votes.items):
        raise InputError(
            f"texts must hold {len(votes.items)} texts, one for each item of votes.items, got {len(texts)}"
        )
    weights = [1.0] * len(votes.score) if votes.weight is None else votes.weight.tolist()
    rows = []
    for user, first, second, score, weight in zip(
        votes.user.tolist(), votes.first.tolist(), votes.second.tolist(), votes.score.tolist(), weights
    ):
        for chosen, rejected, share in ((first, second, score), (second, first, 1 - score)):
            if share > 0:
                pair = {"prompt": prompt, "chosen": texts[chosen], "rejected": texts[rejected]}
                rows.append({**pair, "weight": weight * share, "user": votes.users[user]})
    return rows


def write_preferences(
    votes: Path | str, texts: Path | str, prompt: str, out: Path | str, *, topic: str | None = None
) -> list[str]:
    """Write the votes of a file as JSON lines of `preference_rows`.

    Args:
        votes: in a format of `load_votes`.
        texts: a table of the items' texts, with columns item (or argument) and text.
        prompt: what the texts answer.
        out: file to write; its name ends in .jsonl.
        topic: the topic to read, where the file of votes holds several.

    Returns:
        Sentences on what was read, decided and written.

    Raises:
        InputError: a file cannot be used, an item has no text, or the prompt is empty.
    """
    if not prompt.strip():
        raise InputError("prompt is empty: give the question or instruction that the texts answer")
    if Path(out).suffix != ".jsonl":
        raise InputError(f"out must end in .jsonl, which `distalign train` reads, got {out}")
    read = load_votes(votes, topic)
    rows = preference_rows(read, texts_of(Path(texts), read), prompt)
    write_text(Path(out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    given = len(read.score) if read.weight is None else read.weight.sum()
    counted = f"{given:.12g} votes of {len(read.users)} people on {len(read.items)} texts"
    return [*read.told, f"{counted} became {len(rows)} weighted pairs in {out}."]
