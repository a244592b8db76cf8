"""Files, folders and Hub data sets of preferences, read line by line into checked records; no tokenizer is
needed.

Two formats, those of TRL, and what `distalign.training.data.layouts` brings to them. Pairs have `chosen` and
`rejected`, and `prompt` unless both begin alike. Unpaired data have `prompt`, `completion` and `label` (true
for chosen). Texts are strings or lists of messages `{"role": ..., "content": ...}`. Optional columns:
`weight`, `group`, `user`, `tools` and `chat_template_kwargs` for the chat template, and `chosen_cut`,
`rejected_cut` and `completion_cut` (true for a text that was cut when it was written).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distalign.checks import InputError
from distalign.training.data.layouts import CUT, FORMATS, Layout, layout_of
from distalign.training.data.sources import BadRow, reader_of
from distalign.training.data.texts import Text, explicit, implicit, template_options, text_of

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Record:
    """One checked line: texts of the prompt and of one or both completions.

    `line` counts from 1 in the source; `template` holds further arguments of the chat template; `open` says
    of chosen and rejected whether it was cut when it was written, so that its end is none.
    """

    line: int
    prompt: Text
    chosen: Text | None
    rejected: Text | None
    weight: float = 1.0
    group: str | None = None
    user: str | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    open: tuple[bool, bool] = (False, False)


@dataclass
class RowCounter:
    """Counts of the rows of one source: read, and left out for each reason.

    Attributes:
        source: the file or data set, for messages.
        skip_bad_rows: whether a bad row is counted; otherwise it stops the reading with a sentence.
        counts: `read`, `columns_ignored`, `ignored_column_NAME`, `dropped_REASON`, `prompts_repeated`, and
            what tokenising adds.
        lengths: tokens of each prompt with one completion, before completions are cut.
    """

    source: str
    skip_bad_rows: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)

    def reject(self, line: int, error: BadRow) -> None:
        """Count the row under its reason, or raise."""
        if not self.skip_bad_rows:
            raise InputError(
                f"{self.source}, line {line}: {error}; correct the line, or pass skip_bad_rows to leave such "
                "lines out and count them"
            ) from error
        self.counts[f"dropped_{error.reason}"] += 1


class Records:
    """All usable lines of a file, of a folder or of a Hub data set, read anew in each pass over them.

    Making it reads them twice: for the columns, and for what is said of all lines together. No pass holds
    more than a line.

    Args:
        source: what `distalign.training.data.sources.read_rows` reads.
        counter: takes the counts of what was read, what was left out and why, and which columns were ignored.
        ranking_pairs: of a line with K ranked responses, `all` makes a pair of every two that differ in rank,
            `best_worst` one pair.

    Attributes:
        groups: their names.
        conversation: line of the first record whose prompt is messages, or None.
        has_text: whether some prompt is text.

    Raises:
        InputError: the source cannot be found or read, holds no rows, lacks columns, or a line is bad and the
            counter does not skip bad rows.
    """

    def __init__(
        self, source: str | Path, counter: RowCounter | None = None, *, ranking_pairs: str = "all"
    ) -> None:
        """Read the source twice."""
        self._source, counter = source, counter or RowCounter(str(source))
        self._read = reader_of(source)
        said = self._said(counter)
        self._columns = set(said)
        self._layout = layout_of(list(said), source, ranking_pairs)
        counter.counts["columns_ignored"] = len(self._columns - self._layout.used)
        for name in sorted(self._columns - self._layout.used):
            counter.counts[f"ignored_column_{name}"] = said[name]
        self.groups: set[str] = set()
        self.conversation: int | None = None
        self.has_text, self._count, self._repeats = False, 0, False
        whole = 0
        for record in self._pass(counter):
            self._count += 1
            whole += _begins_with_prompt(record)
            self.groups.update(() if record.group is None else (record.group,))
            if isinstance(record.prompt, str):
                self.has_text = True
            elif self.conversation is None:
                self.conversation = record.line
        if whole and self._layout.paired and self._layout.prompted:
            self._repeats = whole == self._count
            counter.counts["prompts_repeated" if self._repeats else "prompts_perhaps_repeated"] = whole

    def _said(self, counter: RowCounter) -> dict[str, int]:
        """Each column, in the order in which they appear, and in how many rows it says something."""
        said: dict[str, int] = {}
        for line, row in self._read():
            counter.counts["read"] += 1
            if isinstance(row, BadRow):
                counter.reject(line, row)
                continue
            for name, value in row.items():
                said[name] = said.get(name, 0) + (value is not None)
        if not counter.counts["read"]:
            raise InputError(f"{self._source} holds no rows: give at least one line with {FORMATS}")
        return said

    def _pass(self, counter: RowCounter) -> Iterator[Record]:
        rows = ((line, row) for line, row in self._read() if not isinstance(row, BadRow))
        return _checked(rows, self._layout, self._columns, counter)

    def __len__(self) -> int:
        """Number of records."""
        return self._count

    def __iter__(self) -> Iterator[Record]:
        """The records in order.

        Pairs of plain texts of which all begin with their prompt come without that beginning: in a single
        line it may be chance that both completions begin as the prompt does, in all of them it says that the
        columns hold whole texts.
        """
        for record in self._pass(RowCounter(str(self._source), skip_bad_rows=True)):
            yield _without_prompt(record) if self._repeats else record


def read_records(
    source: str | Path, counter: RowCounter | None = None, *, ranking_pairs: str = "all"
) -> list[Record]:
    """`Records` as a list.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.jsonl"
        >>> _ = path.write_text('{"prompt": "2+2=", "chosen": "4", "rejected": "5", "weight": 2}\\n')
        >>> (record,) = read_records(path)
        >>> record.line, record.prompt, record.chosen, record.rejected, record.weight
        (1, '2+2=', '4', '5', 2.0)
    """
    return list(Records(source, counter, ranking_pairs=ranking_pairs))


def _checked(
    rows: Iterable[tuple[int, Mapping[str, Any]]], layout: Layout, columns: set[str], counter: RowCounter
) -> Iterator[Record]:
    for line, row in rows:
        try:
            for one in layout.convert(row):
                counter.counts.update(layout.noted(one))
                yield _record(line, one, layout, columns)
        except BadRow as error:
            counter.reject(line, error)


def _record(line: int, row: Mapping[str, Any], layout: Layout, columns: set[str]) -> Record:
    prompt, chosen, rejected = _pair(row, layout.prompted) if layout.paired else _labelled(row)
    return Record(
        line,
        prompt,
        chosen,
        rejected,
        _weight(row) if "weight" in columns else 1.0,
        _name(row, "group") if "group" in columns else None,
        None if row.get("user") is None else str(row["user"]),
        template_options(row),
        _open(row, layout.paired),
    )


def _pair(row: Mapping[str, Any], prompted: bool) -> tuple[Text, Text, Text]:
    chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
    if type(chosen) is not type(rejected):
        raise BadRow("mixed", "one of chosen and rejected is text, the other messages: give both in one form")
    if chosen == rejected:
        raise BadRow("identical", "chosen equals rejected, so the line prefers nothing")
    sides = [chosen, rejected]
    prompt, sides = explicit(text_of(row, "prompt", empty=True), sides) if prompted else implicit(sides)
    return prompt, sides[0], sides[1]


def _labelled(row: Mapping[str, Any]) -> tuple[Text, Text | None, Text | None]:
    completion, prompt = text_of(row, "completion"), text_of(row, "prompt", empty=True)
    prompt, (completion,) = explicit(prompt, [completion])
    label = LABELS.get(str(row.get("label")).lower())
    if label is None:
        raise BadRow("unknown_label", f"label must be true or false (or 1 or 0), got {row.get('label')!r}")
    return (prompt, completion, None) if label else (prompt, None, completion)


def _open(row: Mapping[str, Any], paired: bool) -> tuple[bool, bool]:
    """Whether chosen and rejected were cut when they were written."""
    names = CUT[:2] if paired else (CUT[2], CUT[2])
    found = tuple(False if row.get(name) is None else LABELS.get(str(row[name]).lower()) for name in names)
    for name, value in zip(names, found, strict=True):
        if value is None:
            raise BadRow("bad_cut", f"{name} must be true or false (or 1 or 0), got {row[name]!r}")
    return bool(found[0]), bool(found[1])


def _without_prompt(record: Record) -> Record:
    prompt = str(record.prompt)
    return replace(
        record,
        chosen=str(record.chosen).removeprefix(prompt),
        rejected=str(record.rejected).removeprefix(prompt),
    )


def _begins_with_prompt(record: Record) -> bool:
    """Whether both completions are text that begins with the prompt's text and goes on after it."""
    prompt = record.prompt
    return (
        isinstance(prompt, str)
        and bool(prompt.strip())
        and all(
            isinstance(side, str) and side.startswith(prompt) and bool(side.removeprefix(prompt).strip())
            for side in (record.chosen, record.rejected)
        )
    )


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
