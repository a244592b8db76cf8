"""From files or Hub data sets of preferences to token ids, all of it before a model is loaded.

Records are read and checked (`records`), rendered as texts and tokenised (`tokenising`), and every line that
is left out and every text that is cut is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from distalign.checks import InputError
from distalign.training.data.records import Record, RowCounter, read_records
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.data.tokenising import Limits, rendered_records, token_encoder, tokenised_examples

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
    limits = Limits(max_length, max_prompt_length)
    counter = RowCounter(str(source), skip_bad_rows)
    records = read_records(source, counter)
    _check_tokenizer(tokenizer, records, chat_template, counter)
    encode, eos = token_encoder(tokenizer), cast("int | None", tokenizer.eos_token_id)
    groups = sorted({record.group for record in records if record.group is not None})
    index = {name: i for i, name in enumerate(groups)}
    examples: list[Example] = []
    for start in range(0, len(records), _BLOCK):
        rendered = list(rendered_records(records[start : start + _BLOCK], tokenizer, chat_template, counter))
        examples.extend(tokenised_examples(rendered, encode, limits, index, counter, eos))
    _check_left(examples, counter)
    counts = counter.counts | {"kept": len(examples)}
    report = {name: counts[name] for name in (*COUNTS, *sorted(set(counts) - set(COUNTS)))}
    return PreferenceData.of(examples, groups, report)


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    chat_template: bool | None,
    counter: RowCounter,
) -> None:
    conversation = next((record for record in records if not isinstance(record.prompt, str)), None)
    if conversation is not None and chat_template is False:
        raise InputError(
            f"{counter.source}, line {conversation.line} holds messages, but chat_template is False: leave "
            "it unset, or give prompt and completions as text"
        )
    if (conversation is not None or chat_template) and not tokenizer.chat_template:
        needs = (
            "chat_template is True"
            if conversation is None
            else f"{counter.source}, line {conversation.line} holds messages"
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


def _check_left(examples: Sequence[Example], counter: RowCounter) -> None:
    if not examples:
        why = ", ".join(
            f"{count} {name}" for name, count in sorted(counter.counts.items()) if name.startswith("dropped")
        )
        raise InputError(
            f"{counter.source}: none of its {counter.counts['read']} lines can be used ({why}): correct the "
            "data or raise max_length"
        )
    if not any(example.weight > 0 for example in examples):
        raise InputError(
            f"{counter.source}: all weights are 0: give some line a weight above 0, or leave the column out"
        )
