"""From files or Hub data sets of preferences to token ids, all of it before a model is loaded.

Where a completion starts. With P, C, R the token ids of the prompt alone, of prompt + chosen and of prompt +
rejected,

    b = min(lcp(P, C), lcp(P, R)),    prompt = C[:b] = R[:b],   chosen = C[b:],   rejected = R[b:],

with lcp the length of the longest common prefix. Tokens that merge across the end of the prompt thus belong
to the completion, prompt + completion is what the tokenizer makes of the whole text, and both completions
share one prompt. The rule is TRL's.

What is cut. A prompt of more than `max_prompt_length` tokens keeps its end; then a completion keeps its
start, as many tokens as `max_length` leaves. Every cut is counted in the report. A pair whose completions are
alike once cut is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from distalign.checks import InputError
from distalign.training.data.records import Ledger, Messages, Record, Text, read_records
from distalign.training.data.rows import Example, PreferenceData, Tokens
from distalign.training.data.sources import BadRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BLOCK = 2048
"""Records tokenised in one call: enough to keep the tokenizer busy, few enough to hold in memory."""

COUNTS = (
    "read",
    "kept",
    "columns_ignored",
    "boundaries_moved",
    "prompts_truncated",
    "chosen_truncated",
    "rejected_truncated",
)
"""Always in the report; `dropped_REASON` is added where lines were left out."""


@dataclass(frozen=True)
class _Limits:
    """Token counts: of prompt + completion, and of the prompt alone (None: no limit of its own)."""

    total: int
    prompt: int | None

    def __post_init__(self) -> None:
        if self.total < 2:
            raise InputError(
                f"max_length must be at least 2, got {self.total}: one token of prompt and one of completion"
            )
        if self.prompt is not None and not 1 <= self.prompt < self.total:
            raise InputError(
                f"max_prompt_length must lie between 1 and max_length - 1 = {self.total - 1}, got "
                f"{self.prompt}"
            )


@dataclass(frozen=True)
class _Rendered:
    """The texts that are tokenised: the prompt alone, and the prompt followed by each completion."""

    record: Record
    prompt: str
    chosen: str | None
    rejected: str | None
    templated: bool


def load_preferences(
    source: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 1024,
    max_prompt_length: int | None = None,
    chat_template: bool | None = None,
    skip_bad_rows: bool = False,
) -> PreferenceData:
    """Read, render and tokenise preference data.

    Args:
        source: a .jsonl, .csv or .parquet file or a Hub data set `name[:split]`; formats in
            `distalign.training.data.records`.
        tokenizer: of the model to be trained. Messages go through its chat template. To plain completions its
            end-of-text token is appended where they do not end in it.
        max_length: most tokens of prompt and completion together.
        max_prompt_length: most tokens of the prompt, of which the end is kept; None leaves prompts whole.
        chat_template: None renders messages by the template and leaves plain text alone; True makes plain
            prompts a user's message and plain completions an assistant's; False refuses messages.
        skip_bad_rows: count lines that cannot be used instead of stopping at the first.

    Raises:
        InputError: a limit is out of range, the source cannot be read, the tokenizer lacks what the data
            need, a line is bad (malformed, incomplete, empty completion, chosen equal to rejected, unusable
            weight or label, prompt that leaves no room), or no line is left.
    """
    limits = _Limits(max_length, max_prompt_length)
    ledger = Ledger(str(source), skip_bad_rows)
    records = read_records(source, ledger)
    _check_tokenizer(tokenizer, records, chat_template, ledger)
    encode, eos = _encoder(tokenizer), cast("int | None", tokenizer.eos_token_id)
    groups = sorted({record.group for record in records if record.group is not None})
    index = {name: i for i, name in enumerate(groups)}
    examples: list[Example] = []
    for start in range(0, len(records), _BLOCK):
        rendered = list(_rendered(records[start : start + _BLOCK], tokenizer, chat_template, ledger))
        examples.extend(_examples(rendered, encode, limits, index, ledger, eos))
    _check_left(examples, ledger)
    counts = ledger.counts | {"kept": len(examples)}
    report = {name: counts[name] for name in (*COUNTS, *sorted(set(counts) - set(COUNTS)))}
    return PreferenceData.of(examples, groups, report)


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, records: Sequence[Record], chat_template: bool | None, ledger: Ledger
) -> None:
    talk = next((record for record in records if not isinstance(record.prompt, str)), None)
    if talk is not None and chat_template is False:
        raise InputError(
            f"{ledger.source}, line {talk.line} holds messages, but chat_template is False: leave it unset, "
            "or give prompt and completions as text"
        )
    if (talk is not None or chat_template) and not tokenizer.chat_template:
        needs = (
            "chat_template is True" if talk is None else f"{ledger.source}, line {talk.line} holds messages"
        )
        raise InputError(
            f"{needs}, but the tokenizer has no chat template: take that of an instruction-tuned model, set "
            "tokenizer.chat_template, or give prompt and completions as text"
        )
    plain = any(isinstance(record.prompt, str) for record in records)
    if plain and not chat_template and tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-text token, so completions would have no end: set "
            "tokenizer.eos_token"
        )


def _check_left(examples: Sequence[Example], ledger: Ledger) -> None:
    if not examples:
        why = ", ".join(
            f"{count} {name}" for name, count in sorted(ledger.counts.items()) if name.startswith("dropped")
        )
        raise InputError(
            f"{ledger.source}: none of its {ledger.counts['read']} lines can be used ({why}): correct the "
            "data or raise max_length"
        )
    if not any(example.weight > 0 for example in examples):
        raise InputError(
            f"{ledger.source}: all weights are 0: give some line a weight above 0, or leave the column out"
        )


# -- rendering --


def _rendered(
    records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, chat_template: bool | None, ledger: Ledger
) -> Iterator[_Rendered]:
    for record in records:
        try:
            yield _render(record, tokenizer, bool(chat_template))
        except BadRow as error:
            ledger.bad(record.line, error)


def _render(record: Record, tokenizer: PreTrainedTokenizerBase, wrap: bool) -> _Rendered:
    sides = (record.chosen, record.rejected)
    if isinstance(record.prompt, str) and not wrap:
        whole = [None if side is None else f"{record.prompt}{side}" for side in sides]
        return _Rendered(record, record.prompt, whole[0], whole[1], templated=False)
    prompt = _as_messages(record.prompt, "user")
    start = _template(tokenizer, prompt, opens=True)
    whole = [
        None if side is None else _template(tokenizer, prompt + _as_messages(side, "assistant"))
        for side in sides
    ]
    return _Rendered(record, start, whole[0], whole[1], templated=True)


def _as_messages(text: Text, role: str) -> Messages:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _template(tokenizer: PreTrainedTokenizerBase, messages: Messages, opens: bool = False) -> str:
    """The conversation as text; `opens` adds what precedes the assistant's answer."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens))
    except (TemplateError, ValueError, TypeError) as error:
        raise BadRow("template", f"the tokenizer's chat template refuses the messages ({error})") from error


# -- tokens --


Encode = Callable[[list[str], bool], list[Tokens]]


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Encode:
    """encode(texts, with special tokens) -> ids. Equal ids are one object: a million tokens then take 8 MB,
    not 36.
    """
    known: dict[int, int] = {}

    def encode(texts: list[str], special: bool) -> list[Tokens]:
        if not texts:
            return []
        found = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]
        return [tuple(map(known.setdefault, ids, ids)) for ids in found]  # type: ignore[arg-type]

    return encode


def _examples(
    rendered: Sequence[_Rendered],
    encode: Encode,
    limits: _Limits,
    groups: dict[str, int],
    ledger: Ledger,
    eos: int | None,
) -> Iterator[Example]:
    ids: dict[tuple[bool, str], Tokens] = {}
    for templated in (False, True):  # a template writes the special tokens itself
        texts = [
            text
            for one in rendered
            if one.templated is templated
            for text in (one.prompt, one.chosen, one.rejected)
        ]
        unique = list(dict.fromkeys(text for text in texts if text is not None))
        ids |= {
            (templated, text): tokens
            for text, tokens in zip(unique, encode(unique, not templated), strict=True)
        }
    for one in rendered:
        try:
            sides = [
                None if text is None else ids[one.templated, text] for text in (one.chosen, one.rejected)
            ]
            end = None if one.templated else eos
            example = _example(one.record, ids[one.templated, one.prompt], sides, end, limits, groups, ledger)
        except BadRow as error:
            ledger.bad(one.record.line, error)
            continue
        if example.chosen == example.rejected:
            ledger.counts["dropped_identical_tokens"] += 1
        else:
            yield example


def _example(
    record: Record,
    alone: Tokens,
    whole: list[Tokens | None],
    eos: int | None,
    limits: _Limits,
    groups: dict[str, int],
    ledger: Ledger,
) -> Example:
    start = min(_common(alone, tokens) for tokens in whole if tokens is not None)
    prompt = next(tokens for tokens in whole if tokens is not None)[:start]
    sides = [None if tokens is None else _ended(tokens[start:], eos) for tokens in whole]
    if any(side == () for side in sides):
        raise BadRow("empty_completion", "a completion adds no token to its prompt")
    if not prompt:
        raise BadRow(
            "empty_prompt",
            "no token of the prompt is left before the completion (an empty prompt, or one that "
            "merges with it), so the completion's first token has no probability",
        )
    cut = prompt if limits.prompt is None else prompt[-limits.prompt :]
    room = limits.total - len(cut)
    if room < 1:
        raise BadRow(
            "prompt_too_long",
            f"the prompt alone has {len(cut)} tokens, which leaves a completion no room in "
            f"max_length={limits.total}: raise max_length, or set max_prompt_length",
        )
    ledger.counts["boundaries_moved"] += start < len(alone)
    ledger.counts["prompts_truncated"] += len(cut) < len(prompt)
    for name, side in zip(("chosen_truncated", "rejected_truncated"), sides, strict=True):
        ledger.counts[name] += side is not None and len(side) > room
    chosen, rejected = (None if side is None else side[:room] for side in sides)
    group = 0 if record.group is None else groups[record.group]
    return Example(cut, chosen, rejected, record.weight, group, record.user, record.line)


def _ended(completion: Tokens, eos: int | None) -> Tokens:
    return completion if eos is None or completion[-1:] == (eos,) else (*completion, eos)


def _common(first: Tokens, second: Tokens) -> int:
    """The length of the longest common prefix."""
    if second[: len(first)] == first:
        return len(first)
    return next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
