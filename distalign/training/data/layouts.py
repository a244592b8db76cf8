"""The columns in which preferences are published, brought to pairs or to labelled completions.

Pairs stand as `chosen` and `rejected` (or under the names of `SIDES`), with a `prompt` (or a name of
`PROMPTS`) unless both begin alike. Ranked lists stand as one column of K responses, best first under the name
`ranked`, or beside a column of scores (higher is better) or ranks (1 is best); they become pairs. Labelled
completions stand as `prompt`, `completion` and `label`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from distalign.checks import InputError, one_of
from distalign.training.data.sources import BadRow

FORMATS = "'prompt', 'chosen', 'rejected' (pairs) or 'prompt', 'completion', 'label' (unpaired)"
PROMPTS = ("prompt", "question", "instruction", "conversations", "conversation")
SIDES = (("chosen", "rejected"), ("response_j", "response_k"), ("chosen_response", "rejected_response"))
SCORES = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"))
LISTS = ("ranked", "responses", "completions", "answers", "candidates")
RANKINGS = ("scores", "rewards", "ranks", "ranking")
EXTRAS = ("weight", "group", "user", "tools", "chat_template_kwargs")
"""Columns that every layout may have."""
CUT = ("chosen_cut", "rejected_cut", "completion_cut")
"""Of pairs and of labelled completions: whether a text was cut when it was written, so that it has no end."""

RANKING_PAIRS = ("all", "best_worst")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """How the rows of one source are read.

    Attributes:
        used: the columns that are read.
        paired: whether rows become `chosen` and `rejected`, or `completion` and `label`.
        prompted: whether the rows have a prompt of their own.
        convert: a row to rows of the names above, with `prompt` if there is one.
        noted: counts that one converted row adds.
    """

    used: frozenset[str]
    paired: bool
    prompted: bool
    convert: Callable[[Row], Iterable[Row]]
    noted: Callable[[Row], dict[str, int]] = lambda row: {}


def layout_of(columns: Iterable[str], source: str | Path, ranking_pairs: str = "all") -> Layout:
    """The layout of a source with these columns.

    Args:
        columns: of all its rows.
        source: for the message.
        ranking_pairs: see `distalign.training.data.records.read_records`.

    Raises:
        InputError: the columns are of no known layout, or `ranking_pairs` is unknown.

    Example:
        >>> layout = layout_of(["question", "response_j", "response_k", "date"], "stack.jsonl")
        >>> list(layout.convert({"question": "?", "response_j": "good", "response_k": "bad"}))
        [{'prompt': '?', 'chosen': 'good', 'rejected': 'bad'}]
    """
    one_of("ranking_pairs", ranking_pairs, RANKING_PAIRS)
    names = list(dict.fromkeys(columns))
    prompt = next((name for name in PROMPTS if name in names), None)
    sides = next((pair for pair in SIDES if {*pair} <= {*names}), None)
    beside = {"system"} if prompt else set()
    beside |= {"input"} if prompt == "instruction" else set()
    read = {*EXTRAS, *beside, *([prompt] if prompt else [])}
    if sides:
        scores = next((pair for pair in SCORES if {*pair} <= {*names}), ())
        convert = partial(_pair, prompt=prompt, sides=sides, scores=scores)
        return Layout(frozenset({*read, *sides, *scores, *CUT[:2]}), True, prompt is not None, convert, _ties)
    if prompt and {"completion", "label"} <= {*names}:
        convert = partial(_labelled, prompt=prompt)
        return Layout(frozenset({*read, "completion", "label", CUT[2]}), False, True, convert)
    listed = next((name for name in LISTS if name in names), None)
    if prompt and listed:
        ranking = next((name for name in RANKINGS if name in names), None) if listed != "ranked" else None
        convert = partial(_ranked, prompt=prompt, listed=listed, ranking=ranking, pairs=ranking_pairs)
        return Layout(frozenset({*read, listed, *([ranking] if ranking else [])}), True, True, convert)
    raise InputError(
        f"{source} has the columns {', '.join(map(repr, names)) or 'none at all'}; needed are {FORMATS}, or "
        "'prompt' and a list 'responses' with 'scores' or 'ranks'"
    )


def _others(row: Row, prompt: str | None) -> dict[str, Any]:
    """The prompt and the columns that every layout may have."""
    given = {name: row[name] for name in EXTRAS if name in row}
    return given if prompt is None else given | _prompt(row, prompt)


def _prompt(row: Row, column: str) -> dict[str, Any]:
    """The prompt under its name, with the text of `input` below it and that of `system` before it."""
    if column not in row:
        return {}
    value, system = row[column], row.get("system")
    if column == "instruction" and row.get("input") and isinstance(value, str):
        value = f"{value}\n{row['input']}"
    if not system or value is None:
        return {"prompt": value}
    talk = [{"role": "user", "content": value}] if isinstance(value, str) else [*value]
    first = talk[0] if talk and isinstance(talk[0], Mapping) else {}
    if first.get("role", first.get("from")) == "system":
        if first.get("content", first.get("value")) == system:
            return {"prompt": talk}
        raise BadRow(
            "prompt_differs", "the column system and the prompt's first message say different things"
        )
    return {"prompt": [{"role": "system", "content": system}, *talk]}


def _pair(row: Row, prompt: str | None, sides: tuple[str, str], scores: tuple[str, ...]) -> list[Row]:
    pair = {name: row[column] for name, column in zip(("chosen", "rejected"), sides) if column in row}
    pair |= {name: row[name] for name in CUT[:2] if name in row}
    if scores and all(_is_number(row.get(name)) for name in scores):
        better, worse = (float(row[name]) for name in scores)
        if better < worse:
            raise BadRow(
                "scores_contradict",
                f"{scores[0]} {better:g} is below {scores[1]} {worse:g}, so the line says two things",
            )
        pair["equal_scores"] = better == worse
    return [_others(row, prompt) | pair]


def _ties(row: Row) -> dict[str, int]:
    return {"equal_scores": 1} if row.get("equal_scores") else {}


def _labelled(row: Row, prompt: str) -> list[Row]:
    given = {name: row[name] for name in ("completion", "label", CUT[2]) if name in row}
    return [_others(row, prompt) | given]


def _ranked(row: Row, prompt: str, listed: str, ranking: str | None, pairs: str) -> list[Row]:
    """Pairs of a list of responses, those of higher rank as chosen."""
    responses = row.get(listed)
    if not isinstance(responses, list) or len(responses) < 2:
        raise BadRow("malformed", f"{listed} must be a list of at least two responses")
    worth = _worth(row, responses, listed, ranking)
    texts = [_response(one) for one in responses]
    order = sorted(range(len(texts)), key=lambda i: -worth[i])
    chosen = [(order[0], order[-1])] if pairs == "best_worst" else combinations(order, 2)
    made: list[Row] = [
        _others(row, prompt) | {"chosen": texts[i], "rejected": texts[j]}
        for i, j in chosen
        if worth[i] > worth[j]
    ]
    if not made:
        raise BadRow("tied", f"all responses of {listed} are worth the same, so the line prefers nothing")
    return made


def _worth(row: Row, responses: list[Any], listed: str, ranking: str | None) -> list[float]:
    """A number for each response, higher for better ones."""
    if listed == "ranked":
        return [-float(i) for i in range(len(responses))]
    values = row.get(ranking) if ranking else [_inner(one, ("score", "overall_score")) for one in responses]
    sign = -1.0 if ranking in ("ranks", "ranking") else 1.0
    if not ranking and not all(_is_number(value) for value in values or ()):
        raise BadRow(
            "no_scores",
            f"{listed} has no order: add a column scores or ranks, a number 'score' in each response, or "
            "name the column ranked if the best comes first",
        )
    if not isinstance(values, list) or len(values) != len(responses) or not all(map(_is_number, values)):
        raise BadRow(
            "bad_scores", f"{ranking} must give a finite number for each of the {len(responses)} {listed}"
        )
    return [sign * float(value) for value in values]


def _response(one: Any) -> Any:
    """The text of a response that stands in a mapping beside its score."""
    text = _inner(one, ("response", "text"))
    return one if text is None else text


def _inner(one: Any, names: tuple[str, ...]) -> Any:
    return next((one[name] for name in names if isinstance(one, Mapping) and name in one), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
