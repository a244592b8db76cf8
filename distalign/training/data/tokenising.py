"""Records as token ids: chat templates, the boundary between prompt and completion, and truncation.

Where a completion starts. With P, C, R the token ids of the prompt alone, of prompt + chosen and of prompt +
rejected, and lcp the length of the longest common prefix,

    b = min(lcp(P, C), lcp(P, R)),    prompt = C[:b] = R[:b],   chosen = C[b:],   rejected = R[b:].    (1)

Tokens that merge across the end of the prompt thus belong to the completion, prompt + completion is what the
tokenizer makes of the whole text, and both completions share one prompt. The rule is TRL's.

What is cut. A prompt of more than `max_prompt_length` tokens keeps its end; then a completion keeps its
start, as many tokens as `max_length` leaves. Every cut is counted in the report. A pair whose completions are
alike once cut is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distalign.checks import InputError
from distalign.training.data.records import Messages, Record, RowCounter, Text
from distalign.training.data.rows import Example, Tokens
from distalign.training.data.sources import BadRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encode = Callable[[list[str], bool], list[Tokens]]


@dataclass(frozen=True)
class Limits:
    """Token counts: of prompt + completion, and of the prompt alone (None: no limit of its own)."""

    total: int
    prompt: int | None

    def __post_init__(self) -> None:
        """Check that a prompt and a completion have room."""
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
class RenderedRecord:
    """The texts that are tokenised: the prompt alone, and the prompt followed by each completion."""

    record: Record
    prompt: str
    chosen: str | None
    rejected: str | None
    templated: bool


# -- texts --


def rendered_records(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    chat_template: bool | None,
    counter: RowCounter,
) -> Iterator[RenderedRecord]:
    """The records as texts; one that the chat template refuses is counted or raises."""
    for record in records:
        try:
            yield _render(record, tokenizer, bool(chat_template))
        except BadRow as error:
            counter.reject(record.line, error)


def _render(record: Record, tokenizer: PreTrainedTokenizerBase, wrap: bool) -> RenderedRecord:
    sides = (record.chosen, record.rejected)
    if isinstance(record.prompt, str) and not wrap:
        whole = [None if side is None else f"{record.prompt}{side}" for side in sides]
        return RenderedRecord(record, record.prompt, whole[0], whole[1], templated=False)
    prompt = _as_messages(record.prompt, "user")
    start = _template(tokenizer, prompt, opens=True)
    whole = [
        None if side is None else _template(tokenizer, prompt + _as_messages(side, "assistant"))
        for side in sides
    ]
    return RenderedRecord(record, start, whole[0], whole[1], templated=True)


def _as_messages(text: Text, role: str) -> Messages:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _template(tokenizer: PreTrainedTokenizerBase, messages: Messages, opens: bool = False) -> str:
    """The conversation as text; `opens` adds what precedes the assistant's answer."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens))
    except (TemplateError, ValueError, TypeError) as error:
        raise BadRow("template", f"the tokenizer's chat template refuses the messages ({error})") from error


# -- token ids --


def token_encoder(tokenizer: PreTrainedTokenizerBase) -> Encode:
    """A function (texts, whether to add special tokens) -> token ids of each text.

    Equal ids are made one object, so that a million tokens take 8 MB of memory and not 36.
    """
    shared: dict[int, int] = {}

    def encode(texts: list[str], special: bool) -> list[Tokens]:
        if not texts:
            return []
        encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)
        return [tuple(map(shared.setdefault, ids, ids)) for ids in encoded["input_ids"]]  # type: ignore[arg-type]

    return encode


def tokenised_examples(
    rendered: Sequence[RenderedRecord],
    encode: Encode,
    limits: Limits,
    groups: dict[str, int],
    counter: RowCounter,
    eos: int | None,
) -> Iterator[Example]:
    """The examples of these records; a record that cannot be used is counted or raises."""
    ids = _encoded(rendered, encode)
    for one in rendered:
        sides = [None if text is None else ids[one.templated, text] for text in (one.chosen, one.rejected)]
        end = None if one.templated else eos  # a template ends the completion itself
        try:
            example = _example(
                one.record, ids[one.templated, one.prompt], sides, end, limits, groups, counter
            )
        except BadRow as error:
            counter.reject(one.record.line, error)
            continue
        if example.chosen == example.rejected:
            counter.counts["dropped_identical_tokens"] += 1
        else:
            yield example


def _encoded(rendered: Sequence[RenderedRecord], encode: Encode) -> dict[tuple[bool, str], Tokens]:
    """(whether a template wrote the text, text) to its token ids, each distinct text encoded once."""
    ids: dict[tuple[bool, str], Tokens] = {}
    for templated in (False, True):  # a template writes the special tokens itself
        texts = [
            text
            for one in rendered
            if one.templated is templated
            for text in (one.prompt, one.chosen, one.rejected)
        ]
        distinct = list(dict.fromkeys(text for text in texts if text is not None))
        tokens = encode(distinct, not templated)
        ids |= {(templated, text): each for text, each in zip(distinct, tokens, strict=True)}
    return ids


def _example(
    record: Record,
    alone: Tokens,
    whole: list[Tokens | None],
    eos: int | None,
    limits: Limits,
    groups: dict[str, int],
    counter: RowCounter,
) -> Example:
    """Split at the boundary (1), cut to the limits, and count what was cut.

    Args:
        record: what was read.
        alone: P.
        whole: C and R, None where the record lacks that side.
        eos: token to end a completion with, or None.
        limits: of tokens.
        groups: name to index.
        counter: of what is cut.
    """
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
    counter.counts["boundaries_moved"] += start < len(alone)
    counter.counts["prompts_truncated"] += len(cut) < len(prompt)
    for name, side in zip(("chosen_truncated", "rejected_truncated"), sides, strict=True):
        counter.counts[name] += side is not None and len(side) > room
    chosen, rejected = (None if side is None else side[:room] for side in sides)
    group = 0 if record.group is None else groups[record.group]
    return Example(cut, chosen, rejected, record.weight, group, record.user, record.line)


def _ended(completion: Tokens, eos: int | None) -> Tokens:
    """The completion with its end-of-text token, added where it is missing."""
    return completion if eos is None or completion[-1:] == (eos,) else (*completion, eos)


def _common(first: Tokens, second: Tokens) -> int:
    """The length of the longest common prefix."""
    if second[: len(first)] == first:
        return len(first)
    return next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
