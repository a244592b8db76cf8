"""Files and Hub data sets of preferences, read line by line into checked records; no tokenizer is needed.

Two formats, those of TRL. Pairs have `chosen` and `rejected`, and `prompt` unless both are whole
conversations that begin alike. Unpaired data have `prompt`, `completion` and `label` (true for chosen). Texts
are strings or lists of messages `{"role": ..., "content": ...}`. Optional columns: `weight`, `group`, `user`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distalign.checks import InputError
from distalign.training.data.sources import BadRow, read_rows

Messages = list[dict[str, str]]
Text = str | Messages

FORMATS = "'prompt', 'chosen', 'rejected' (pairs) or 'prompt', 'completion', 'label' (unpaired)"
LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Record:
    """One checked line: texts of the prompt and of one or both completions.

    `line` counts from 1 in the source.
    """

    line: int
    prompt: Text
    chosen: Text | None
    rejected: Text | None
    weight: float = 1.0
    group: str | None = None
    user: str | None = None


@dataclass
class RowCounter:
    """Counts of the rows of one source: read, and left out for each reason.

    Attributes:
        source: the file or data set, for messages.
        skip_bad_rows: whether a bad row is counted; otherwise it stops the reading with a sentence.
        counts: `read`, `columns_ignored`, `dropped_REASON`, and what tokenising adds.
    """

    source: str
    skip_bad_rows: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def reject(self, line: int, error: BadRow) -> None:
        """Count the row under its reason, or raise."""
        if not self.skip_bad_rows:
            raise InputError(
                f"{self.source}, line {line}: {error}; correct the line, or pass skip_bad_rows to leave such "
                "lines out and count them"
            ) from error
        self.counts[f"dropped_{error.reason}"] += 1


def read_records(source: str | Path, counter: RowCounter | None = None) -> list[Record]:
    """All usable lines of a file or of a Hub data set.

    Args:
        source: a .jsonl, .csv (both perhaps .gz) or .parquet file, or the name of a data set on the Hub with
            its split, `name[:split]`, `train` unless given.
        counter: takes the counts `read`, `columns_ignored` and `dropped_REASON` for each reason a line was
            left out.

    Raises:
        InputError: the source cannot be found or read, holds no rows, lacks columns, or a line is bad and the
            counter does not skip bad rows.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.jsonl"
        >>> _ = path.write_text('{"prompt": "2+2=", "chosen": "4", "rejected": "5", "weight": 2}\\n')
        >>> read_records(path)[0]
        Record(line=1, prompt='2+2=', chosen='4', rejected='5', weight=2.0, group=None, user=None)
    """
    counter = counter or RowCounter(str(source))
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for line, row in read_rows(source):
        counter.counts["read"] += 1
        if isinstance(row, BadRow):
            counter.reject(line, row)
        else:
            rows.append((line, row))
    if not counter.counts["read"]:
        raise InputError(f"{source} holds no rows: give at least one line with {FORMATS}")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    paired = _is_paired(columns, source)
    used = {
        *(("prompt", "chosen", "rejected") if paired else ("prompt", "completion", "label")),
        "weight",
        "group",
        "user",
    }
    counter.counts["columns_ignored"] = len(set(columns) - used)
    return list(_checked(rows, paired, used & set(columns), counter))


def _checked(
    rows: Iterable[tuple[int, Mapping[str, Any]]], paired: bool, columns: set[str], counter: RowCounter
) -> Iterator[Record]:
    for line, row in rows:
        try:
            yield _record(line, row, paired, columns)
        except BadRow as error:
            counter.reject(line, error)


def _is_paired(columns: list[str], source: str | Path) -> bool:
    if {"chosen", "rejected"} <= set(columns):
        return True
    if {"prompt", "completion", "label"} <= set(columns):
        return False
    raise InputError(
        f"{source} has the columns {', '.join(map(repr, columns)) or 'none at all'}; needed are {FORMATS}"
    )


def _record(line: int, row: Mapping[str, Any], paired: bool, columns: set[str]) -> Record:
    prompt, chosen, rejected = _pair(row, "prompt" in columns) if paired else _labelled(row)
    return Record(
        line,
        prompt,
        chosen,
        rejected,
        _weight(row) if "weight" in columns else 1.0,
        _name(row, "group") if "group" in columns else None,
        None if row.get("user") is None else str(row["user"]),
    )


def _pair(row: Mapping[str, Any], explicit: bool) -> tuple[Text, Text, Text]:
    chosen, rejected = _text(row, "chosen"), _text(row, "rejected")
    if type(chosen) is not type(rejected):
        raise BadRow("mixed", "one of chosen and rejected is text, the other messages: give both in one form")
    if chosen == rejected:
        raise BadRow("identical", "chosen equals rejected, so the line prefers nothing")
    if explicit:
        prompt = _text(row, "prompt", empty=True)
        _same_form(prompt, chosen, "chosen and rejected")
        return prompt, chosen, rejected
    shared = _shared(chosen, rejected)
    prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if not prompt:
        raise BadRow(
            "no_prompt",
            "chosen and rejected do not begin alike, so no prompt can be read off: add a column 'prompt'",
        )
    if not chosen or not rejected:
        raise BadRow(
            "empty_completion", "after the beginning that chosen and rejected share, one of them is empty"
        )
    return prompt, chosen, rejected


def _labelled(row: Mapping[str, Any]) -> tuple[Text, Text | None, Text | None]:
    completion, prompt = _text(row, "completion"), _text(row, "prompt", empty=True)
    _same_form(prompt, completion, "completion")
    label = LABELS.get(str(row.get("label")).lower())
    if label is None:
        raise BadRow("unknown_label", f"label must be true or false (or 1 or 0), got {row.get('label')!r}")
    return (prompt, completion, None) if label else (prompt, None, completion)


def _same_form(prompt: Text, completion: Text, name: str) -> None:
    if type(prompt) is not type(completion):
        raise BadRow("mixed", f"one of prompt and {name} is text, the other messages: give both in one form")


def _shared(chosen: Text, rejected: Text) -> int:
    """How many leading characters or messages are alike.

    A space before the first difference belongs to the completion.
    """
    pairs = enumerate(zip(chosen, rejected))
    shared = next((i for i, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
    return shared - 1 if isinstance(chosen, str) and shared and chosen[shared - 1] == " " else shared


def _text(row: Mapping[str, Any], name: str, empty: bool = False) -> Text:
    value = row.get(name)
    reason = "empty_prompt" if name == "prompt" else "empty_completion"
    if value is None and name in row and not empty:
        raise BadRow(reason, f"{name} is empty")
    if value is None:
        raise BadRow("missing_field", f"{name} is missing")
    if isinstance(value, str):
        if not empty and not value.strip():
            raise BadRow(reason, f"{name} is empty")
        return value
    if not isinstance(value, list):
        raise BadRow("malformed", f"{name} must be text or a list of messages, got {type(value).__name__}")
    if not value:
        raise BadRow(reason, f"{name} is an empty list of messages")
    return [_message(message, name) for message in value]


def _message(message: Any, name: str) -> dict[str, str]:
    if not (
        isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
    ):
        raise BadRow(
            "malformed",
            f"every message of {name} needs a role and a content, both text, got {str(message)[:60]}",
        )
    if name != "prompt" and message["role"] == "assistant" and not message["content"].strip():
        raise BadRow("empty_completion", f"{name} has an assistant's message without content")
    return {"role": message["role"], "content": message["content"]}


def _weight(row: Mapping[str, Any]) -> float:
    value = row.get("weight")
    try:
        weight = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise BadRow("bad_weight", f"weight must be a finite number of at least 0, got {value!r}")
    return weight


def _name(row: Mapping[str, Any], column: str) -> str:
    if row.get(column) is None:
        raise BadRow("missing_field", f"{column} is missing")
    return str(row[column])
