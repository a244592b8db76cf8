"""Records as token ids: chat templates, the boundary between prompt and completion, and truncation.

Where a completion starts. With P, C, R the token ids of the prompt alone, of prompt + chosen and of prompt +
rejected, and lcp the length of the longest common prefix,

    b = min(lcp(P, C), lcp(P, R)),    prompt = C[:b] = R[:b],   chosen = C[b:],   rejected = R[b:].    (1)

Tokens that merge across the end of the prompt thus belong to the completion, prompt + completion is what the
tokenizer makes of the whole text, and both completions share one prompt. The rule is TRL's.

What is scored. Of a completion with several turns, the tokens of the assistant's messages: those between the
beginning that the whole text shares with the conversation before a message, opened for an answer, and the
beginning it shares with the conversation up to its end. Other tokens are read but not scored
(`distalign.training.data.rows.unscored`).

What is cut. A prompt of more than `max_prompt_length` tokens keeps its end; then a completion keeps its
start, as many tokens as `max_length` leaves. Every cut is counted in the report. A pair whose completions are
alike once cut is left out and counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.training.data.records import Record, RowCounter
from distalign.training.data.rows import Example, Tokens, unscored
from distalign.training.data.sources import BadRow
from distalign.training.data.texts import Messages, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encode = Callable[[list[str], bool], list[Tokens]]
Turns = tuple[tuple[str, str], ...]
"""For each message of the assistant in a completion, the text up to where it starts and up to its end."""


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
    """The texts that are tokenised: the prompt alone, and the prompt followed by each completion.

    `turns` says for chosen and rejected what is scored; without turns it is the whole completion.
    """

    record: Record
    prompt: str
    chosen: str | None
    rejected: str | None
    templated: bool
    turns: tuple[Turns, Turns] = ((), ())

    @property
    def texts(self) -> list[str]:
        """Every text that is tokenised."""
        sides = [text for text in (self.prompt, self.chosen, self.rejected) if text is not None]
        return sides + [text for side in self.turns for turn in side for text in turn]


# -- texts --


@dataclass(frozen=True)
class Renderer:
    """A tokenizer's chat template as a function from messages to text.

    Attributes:
        tokenizer: with the template.
        wrap: make plain prompts a user's message and plain completions an assistant's.
        assistant_only: score the assistant's messages of a completion and not what lies between them.
    """

    tokenizer: PreTrainedTokenizerBase
    wrap: bool = False
    assistant_only: bool = True

    def records(self, records: Sequence[Record], counter: RowCounter) -> Iterator[RenderedRecord]:
        """The records as texts; one that the chat template refuses is counted or raises."""
        ends = _end_markers(self.tokenizer)
        for record in records:
            try:
                rendered = self._rendered(record)
            except BadRow as error:
                counter.reject(record.line, error)
                continue
            for key in self._ignored(record, rendered):
                counter.counts[f"template_ignores_{key}"] += 1
            if rendered.templated:
                sides = [text for text in (rendered.chosen, rendered.rejected) if text is not None]
                counter.counts["no_end_token"] += sum(not text.rstrip().endswith(ends) for text in sides)
            else:
                counter.counts["run_together"] += _runs_together(record)
            yield rendered

    def _rendered(self, record: Record) -> RenderedRecord:
        sides = (record.chosen, record.rejected)
        if isinstance(record.prompt, str) and not self.wrap:
            whole = [None if side is None else f"{record.prompt}{side}" for side in sides]
            return RenderedRecord(record, record.prompt, whole[0], whole[1], templated=False)
        prompt, how = _as_messages(record.prompt, "user"), record.template
        talks = [None if side is None else _as_messages(side, "assistant") for side in sides]
        start = self.text(prompt, how, opens=True)
        whole = [
            None if talk is None else _opened(self.text(prompt + talk, how), talk, cut)
            for talk, cut in zip(talks, record.open, strict=True)
        ]
        turns = [
            () if talk is None or text is None else self._turns(prompt, talk, text, how)
            for talk, text in zip(talks, whole)
        ]
        return RenderedRecord(record, start, whole[0], whole[1], True, (turns[0], turns[1]))

    def _turns(self, prompt: Messages, talk: Messages, whole: str, how: Mapping[str, Any]) -> Turns:
        """Where the assistant's messages of a completion lie in the whole text; () if there are no others."""
        speakers = [message["role"] for message in talk]
        if not self.assistant_only or all(speaker == "assistant" for speaker in speakers):
            return ()
        own = [i for i, speaker in enumerate(speakers) if speaker == "assistant"]
        if not own:
            raise BadRow("empty_completion", "a completion has no message of the assistant to score")
        return tuple(self._turn(prompt + talk[:i], talk[i], whole, how) for i in own)

    def _turn(
        self, before: Messages, message: dict[str, Any], whole: str, how: Mapping[str, Any]
    ) -> tuple[str, str]:
        """The whole text up to where this message starts and up to its end.

        A template may write an answer otherwise while it is the last (Qwen3 then adds an empty thought). Its
        end is then where its content ends in the whole text, and with it what the template writes after it.
        """
        eos = str(self.tokenizer.eos_token or "")
        self._agreeing(self.text(before, how), whole, eos)
        start = _beginning(self.text(before, how, opens=True), whole)
        alone = self.text([*before, message], how)
        try:
            return start, self._agreeing(alone, whole, eos)
        except BadRow:
            content = message["content"].strip()
            end = alone.rpartition(content)[2]
            rest = whole[len(start) :].lstrip()
            if not content or not rest.startswith(content + end):
                raise
            return start, whole[: len(whole) - len(rest) + len(content + end)]

    @staticmethod
    def _agreeing(text: str, whole: str, eos: str) -> str:
        """What `whole` begins with of `text`, which may go on in white space or an end-of-text token only."""
        for one in (text, text.rstrip().removesuffix(eos)):
            shared = _beginning(one, whole)
            if not one[len(shared) :].strip():
                return shared
        raise BadRow(
            "turns",
            "the chat template writes a turn of the assistant otherwise once more turns follow, so what is "
            "the assistant's in a completion of several turns cannot be told: let the completion be the last "
            "answer, or say assistant_only_loss: false to score all of it",
        )

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether the template reads the parts of a content and not its text, as those of vision models do.

        Raises:
            InputError: it writes neither.
        """
        answered = False
        for parts in (False, True):
            probe = [{"role": "user", "content": "Q3s"}, {"role": "assistant", "content": "A7s"}]
            with contextlib.suppress(BadRow):
                text = self._written(_in_parts(probe) if parts else probe, {}, opens=False)
                if "Q3s" in text and "A7s" in text:
                    return parts
                answered = True
        if answered:
            raise InputError(
                "the tokenizer's chat template leaves out what the messages say: take the template of an "
                "instruction-tuned model, or set tokenizer.chat_template"
            )
        return False

    def text(self, messages: Messages, how: Mapping[str, Any], opens: bool = False) -> str:
        """The conversation as text; `opens` adds what precedes the assistant's answer."""
        return self._written(_in_parts(messages) if self._takes_parts else messages, how, opens)

    def _written(self, messages: Messages, how: Mapping[str, Any], opens: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, **{**how, "add_generation_prompt": opens}
                )
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise BadRow(
                "template", f"the tokenizer's chat template refuses the messages ({error})"
            ) from error

    def _ignored(self, record: Record, rendered: RenderedRecord) -> list[str]:
        """Keys of messages and options of the template without which the texts are the same."""
        parts = [part for part in (record.prompt, record.chosen, record.rejected) if part is not None]
        messages = [message for part in parts if not isinstance(part, str) for message in part]
        keys = sorted({key for message in messages for key in message} - {"role", "content"})
        if not rendered.templated:
            return sorted(record.template)
        ignored = []
        for key in keys:
            without = [_without(part, key) for part in (record.prompt, record.chosen, record.rejected)]
            bare = Record(record.line, without[0] or "", without[1], without[2], template=record.template)
            if self._same_texts(bare, rendered):
                ignored.append(key)
        for key in sorted(record.template):
            fewer = {name: value for name, value in record.template.items() if name != key}
            bare = Record(record.line, record.prompt, record.chosen, record.rejected, template=fewer)
            if self._same_texts(bare, rendered):
                ignored.append(key)
        return ignored

    def _same_texts(self, bare: Record, rendered: RenderedRecord) -> bool:
        try:
            other = self._rendered(bare)
        except BadRow:
            return False
        texts = (rendered.prompt, rendered.chosen, rendered.rejected)
        return (other.prompt, other.chosen, other.rejected) == texts


def _opened(whole: str, talk: Messages, cut: bool) -> str:
    """The conversation without what the template writes after an answer that was cut."""
    if not cut:
        return whole
    before, content, _ = whole.rpartition(str(talk[-1]["content"]).rstrip())
    if not content or talk[-1]["role"] != "assistant":
        raise BadRow(
            "open_end",
            "a completion is said to be cut, and its end cannot be found in what the chat template writes: "
            "leave the column of cuts out, or say chat_template: false",
        )
    return before + content


def _in_parts(messages: Messages) -> Messages:
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def _beginning(text: str, whole: str) -> str:
    """The longest beginning that both texts share."""
    return text[: _common(text, whole)]


def _without(text: Text | None, key: str) -> Text | None:
    if text is None or isinstance(text, str):
        return text
    return [{name: value for name, value in message.items() if name != key} for message in text]


def _as_messages(text: Text, role: str) -> Messages:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _end_markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Special tokens, one of which ends a completion that a model can learn to end."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple({*map(str, tokenizer.all_special_tokens), *added})


def _runs_together(record: Record) -> bool:
    """Whether a word of a plain completion follows the prompt's last word or mark without a space."""
    prompt = str(record.prompt)
    sides = [str(side) for side in (record.chosen, record.rejected) if side is not None]
    ends_in_text = prompt[-1:].isalnum() or prompt[-1:] in tuple(".?!:;,")
    return ends_in_text and all(side[:1].isalnum() for side in sides)


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
    *,
    bos: int | None,
    eos: int | None,
) -> Iterator[Example]:
    """The examples of these records; a record that cannot be used is counted or raises.

    Args:
        rendered: the records as texts.
        encode: of `token_encoder`.
        limits: of tokens.
        groups: name to index.
        counter: of what is cut and left out.
        bos: the beginning-of-text token, counted where it stands twice at the start.
        eos: the token that ends plain completions.
    """
    ids = _encoded(rendered, encode)
    for one in rendered:
        sides = [None if text is None else ids[one.templated, text] for text in (one.chosen, one.rejected)]
        turns = [[(ids[True, before], ids[True, after]) for before, after in side] for side in one.turns]
        ends = [None if one.templated or cut else eos for cut in one.record.open]  # a template ends it itself
        try:
            example = _example(
                one.record, ids[one.templated, one.prompt], sides, turns, ends, limits, groups, counter
            )
        except BadRow as error:
            counter.reject(one.record.line, error)
            continue
        counter.counts["bos_twice"] += bos is not None and example.prompt[:2] == (bos, bos)
        if example.chosen == example.rejected:
            counter.counts["dropped_identical_tokens"] += 1
        else:
            yield example


def _encoded(rendered: Sequence[RenderedRecord], encode: Encode) -> dict[tuple[bool, str], Tokens]:
    """(whether a template wrote the text, text) to its token ids, each distinct text encoded once."""
    ids: dict[tuple[bool, str], Tokens] = {}
    for templated in (False, True):  # a template writes the special tokens itself
        distinct = list(
            dict.fromkeys(text for one in rendered if one.templated is templated for text in one.texts)
        )
        tokens = encode(distinct, not templated)
        ids |= {(templated, text): each for text, each in zip(distinct, tokens, strict=True)}
    return ids


def _example(
    record: Record,
    alone: Tokens,
    whole: list[Tokens | None],
    turns: list[list[tuple[Tokens, Tokens]]],
    ends: list[int | None],
    limits: Limits,
    groups: dict[str, int],
    counter: RowCounter,
) -> Example:
    """Split at the boundary (1), cut to the limits, and count what was cut.

    Args:
        record: what was read.
        alone: P.
        whole: C and R, None where the record lacks that side.
        turns: token ids up to the start and up to the end of each scored turn of C and of R.
        ends: token to end chosen and rejected with, or None.
        limits: of tokens.
        groups: name to index.
        counter: of what is cut.
    """
    start = min(_common(alone, tokens) for tokens in whole if tokens is not None)
    prompt = next(tokens for tokens in whole if tokens is not None)[:start]
    sides = [
        None if tokens is None else _ended(_of_turns(tokens, start, spans), eos)
        for tokens, spans, eos in zip(whole, turns, ends, strict=True)
    ]
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
    counter.counts["open_ends"] += sum(
        cut for cut, side in zip(record.open, sides, strict=True) if side is not None
    )
    counter.counts["prompts_truncated"] += len(cut) < len(prompt)
    for name, side in zip(("chosen_truncated", "rejected_truncated"), sides, strict=True):
        counter.counts[name] += side is not None and len(side) > room
    counter.lengths += [len(cut) + len(side) for side in sides if side is not None]
    chosen, rejected = (None if side is None else _up_to_scored(side[:room]) for side in sides)
    if any(side == () for side in (chosen, rejected)):
        raise BadRow(
            "prompt_too_long", f"max_length={limits.total} leaves no token of the assistant to score"
        )
    group = 0 if record.group is None else groups[record.group]
    return Example(cut, chosen, rejected, record.weight, group, record.user, record.line)


def _of_turns(tokens: Tokens, start: int, turns: Sequence[tuple[Tokens, Tokens]]) -> Tokens:
    """The tokens from `start` on, those outside of the turns marked as not scored."""
    if not turns:
        return tokens[start:]
    inside = {i for before, after in turns for i in range(_common(before, tokens), _common(after, tokens))}
    return tuple(
        token if i in inside else unscored((token,))[0] for i, token in enumerate(tokens[start:], start)
    )


def _up_to_scored(tokens: Tokens) -> Tokens:
    """The tokens up to the last one that is scored: what follows it no score depends on."""
    last = max((i for i, token in enumerate(tokens) if token >= 0), default=-1)
    return tokens[: last + 1]


def _ended(completion: Tokens, eos: int | None) -> Tokens:
    """The completion with its end-of-text token, added where it is missing."""
    return completion if eos is None or completion[-1:] == (eos,) else (*completion, eos)


def _common(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The length of the longest common prefix."""
    if second[: len(first)] == first:
        return len(first)
    return next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
