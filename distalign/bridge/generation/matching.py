"""Files of texts, scores and verdicts put side by side, or refused in a sentence.

Source: ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distalign.bridge.generation.comparisons import Comparisons, checked, log_length_ratio
from distalign.bridge.generation.draws import rows_by_prompt
from distalign.checks import InputError, one_of
from distalign.training.evaluation.samples import Sample, Samples
from distalign.types import Array

WINNERS = {"a": 1.0, "tie": 0.5, "b": 0.0}
SAMPLING = ("temperature", "top_p", "max_new_tokens")
"""Settings in which two files must agree for their texts to be compared."""

Grouped = Mapping[int, Sequence[Sample]]


def same_prompts(name: str, ours: Samples, others: Samples) -> Grouped:
    """The other texts by prompt, in our order, if they answer the same prompts and were drawn alike.

    Prompts are the same where they stand alike in their files, or, where a file does not hold them, where
    their tokens are.

    Args:
        name: of the other texts, for the sentence.
        ours, others: texts of two models.

    Raises:
        InputError: they do not, or were drawn in another way.
    """
    mine, theirs = rows_by_prompt(ours), rows_by_prompt(others)
    odd = next((i for i in mine if i not in theirs or not _alike(mine[i][0], theirs[i][0])), None)
    if odd is not None or len(mine) != len(theirs):
        where = "they have more" if odd is None else f"prompt {odd} is another"
        raise InputError(
            f"{name}: these texts are to other prompts ({len(theirs)} beside {len(mine)}; {where}): generate "
            "both from the same --prompts file"
        )
    for key in SAMPLING:
        one, other = ours.settings.get(key), others.settings.get(key)
        if one != other:
            raise InputError(
                f"{name}: these texts were drawn at {key} {other}, and those judged at {one}, so differences "
                "would be those of sampling: generate both with the same settings"
            )
    return {i: theirs[i] for i in mine}


def score_name(score: str | None, given: Sequence[Samples], *, needed: bool) -> str | None:
    """The score that all texts have: the one asked for, or the only one.

    Args:
        score: its name, or None.
        given: texts of one model, or of two.
        needed: whether texts with several scores are refused where none is named.

    Raises:
        InputError: no such score, or several and none is named.
    """
    known = sorted(set.intersection(*(set(row.scores) for texts in given for row in texts.rows)))
    if score is not None:
        if not known:
            raise InputError(
                f"score is {score!r}, and not all texts have one: run `distalign score` on each file"
            )
        one_of("score", score, known)
        return score
    if len(known) > 1 and needed:
        raise InputError(
            f"score must be named, for the texts have {', '.join(known)}: give --score {known[0]}"
        )
    return known[0] if len(known) == 1 else None


def by_verdicts(mine: Grouped, theirs: Grouped, verdicts: Iterable[Mapping[str, Any]]) -> Comparisons:
    """Comparisons by a judge's rows.

    Args:
        mine, theirs: texts by prompt.
        verdicts: rows with `prompt_index` and `winner` (a for ours, b for theirs, or tie), and perhaps
            `sample_a` and `sample_b`; without these the k-th row of a prompt is on its k-th texts.

    Raises:
        InputError: a row on a prompt or text that is not there, or of no known winner; a prompt without a
            row; one prompt.
    """
    place, seen = {prompt: s for s, prompt in enumerate(mine)}, dict.fromkeys(mine, 0)
    found = []
    for line, row in enumerate(verdicts, 1):
        prompt, winner = _whole(row.get("prompt_index")), str(row.get("winner")).strip().lower()
        if prompt is None or prompt not in place:
            raise InputError(
                f"verdict {line} is on prompt_index {row.get('prompt_index')!r}, which the texts have not: "
                "give the judge's file on these very texts"
            )
        if winner not in WINNERS:
            raise InputError(f"verdict {line} has the winner {row.get('winner')!r}: write a, b or tie")
        texts = [
            _text(line, side[prompt], row, name, seen[prompt])
            for name, side in (("sample_a", mine), ("sample_b", theirs))
        ]
        seen[prompt] += 1
        found.append((place[prompt], WINNERS[winner], log_length_ratio(*texts)))
    if left := [prompt for prompt, count in seen.items() if not count]:
        raise InputError(
            f"{len(left)} of {len(mine)} prompts have no verdict, prompt {left[0]} for one: give the judge's "
            "file on these very texts"
        )
    prompt, win, gap = zip(*found, strict=True)
    return checked(Comparisons(np.array(prompt), np.array(win), np.array(gap)))


def values_of(rows: Sequence[Sample], score: str) -> Array:
    """(N,) a score of texts."""
    return np.array([row.scores[score] for row in rows], float)


def log_ratio(row: Sample) -> float | None:
    """Log pi/pi_ref of a text, None where the file does not hold both."""
    if row.log_prob is None or row.ref_log_prob is None:
        return None
    return row.log_prob - row.ref_log_prob


def _alike(one: Sample, other: Sample) -> bool:
    """Whether two texts answer the same prompt."""
    if one.prompt is not None and other.prompt is not None:
        return _plain(one.prompt) == _plain(other.prompt)
    return one.prompt_tokens == other.prompt_tokens


def _plain(prompt: Any) -> str:
    """A prompt as text: messages are JSON in one format of file and objects in the other."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def _text(line: int, texts: Sequence[Sample], row: Mapping[str, Any], name: str, k: int) -> str:
    named = row.get(name)
    at = _whole(k if named is None else named)
    found = next((text.response for text in texts if text.sample == at), None)
    if found is None:
        raise InputError(
            f"verdict {line} is on text {k if named is None else named!r} of prompt {texts[0].prompt_index}, "
            "which is not there: say in columns sample_a and sample_b which texts were compared"
        )
    return found


def _whole(value: Any) -> int | None:
    """A whole number, also one written as text or as 3.0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None
