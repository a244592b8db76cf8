"""From files or Hub data sets of preferences to token ids, all of it before a model is loaded.

Records are read and checked (`records`), rendered as texts and tokenised (`tokenising`), and every line that
is left out, every text that is cut and every field that nothing reads is counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from distalign.checks import InputError
from distalign.progress import progress_bar
from distalign.training.data.mixture import mixture_of
from distalign.training.data.records import Records, RowCounter
from distalign.training.data.rows import PreferenceData
from distalign.training.data.stored import Packer
from distalign.training.data.tokenising import Limits, Renderer, token_encoder, tokenised_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BLOCK = 512
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
"""Always in the report; other counts are added where they are not 0."""


def load_preferences(
    source: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 1024,
    max_prompt_length: int | None = None,
    max_cut_share: float = 0.2,
    chat_template: bool | None = None,
    assistant_only_loss: bool = True,
    ranking_pairs: str = "all",
    skip_bad_rows: bool = False,
    progress: bool = False,
) -> PreferenceData:
    """Read, render and tokenise preference data.

    Args:
        source: what `distalign.training.data.sources.read_rows` reads, or a mixture of such
            (`distalign.training.data.mixture`); formats in `distalign.training.data.layouts`.
        tokenizer: of the model to be trained. Messages go through its chat template. To plain completions its
            end-of-text token is appended where they do not end in it.
        max_length: most tokens of prompt and completion together.
        max_prompt_length: most tokens of the prompt, of which the end is kept; None leaves prompts whole.
        max_cut_share: largest share of the completions that `max_length` may cut, in [0, 1].
        chat_template: None renders messages by the template and leaves plain text alone; True makes plain
            prompts a user's message and plain completions an assistant's; False refuses messages.
        assistant_only_loss: score only the assistant's messages of a completion with several turns; False
            scores what users and tools say in it, too.
        ranking_pairs: see `distalign.training.data.records.read_records`.
        skip_bad_rows: count lines that cannot be used instead of stopping at the first.
        progress: show a bar, or say lines where there is no terminal.

    Raises:
        InputError: a limit is out of range, the source cannot be read, the tokenizer lacks what the data
            need, a line is bad (malformed, incomplete, empty completion, chosen equal to rejected, unusable
            weight or label, prompt that leaves no room), too many completions are cut, or no line is left.
    """
    limits = Limits(max_length, max_prompt_length)
    if not 0 <= max_cut_share <= 1:
        raise InputError(f"max_cut_share must lie in [0, 1], got {max_cut_share!r}: 1 lets all be cut")
    mixture = mixture_of(source)
    counters = [RowCounter(name, skip_bad_rows) for name in mixture.sources]
    read = [Records(each.source, each, ranking_pairs=ranking_pairs) for each in counters]
    groups = sorted(set().union(*(records.groups for records in read)))
    renderer = Renderer(tokenizer, bool(chat_template), assistant_only_loss)
    parts: list[Packer] = []
    for records, counter in zip(read, counters):
        _check_tokenizer(tokenizer, records, chat_template, counter)
        parts.append(_packed(records, renderer, limits, groups, counter, progress))
        _check_left(parts[-1], counter)
        _check_cuts(counter, limits, max_cut_share)
    drawn = mixture.drawn([range(len(part)) for part in parts])
    report = _report(counters, sum(map(len, drawn)))
    if len(drawn) == 1:
        mixed = parts[0] if len(drawn[0]) == len(parts[0]) else None
    else:
        mixed = None
        report |= {f"examples_of_{each.source}": len(part) for each, part in zip(counters, drawn)}
    if mixed is None:
        mixed = Packer(groups)
        for part, indices in zip(parts, drawn):
            examples = part.examples()
            mixed.extend(examples[i] for i in indices)
    return mixed.data(report)


def _packed(
    records: Records,
    renderer: Renderer,
    limits: Limits,
    groups: Sequence[str],
    counter: RowCounter,
    progress: bool,
) -> Packer:
    tokenizer, index = renderer.tokenizer, {name: i for i, name in enumerate(groups)}
    encode = token_encoder(tokenizer)
    bos, eos = (cast("int | None", token) for token in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    out, lines = Packer(groups), iter(records)
    with progress_bar(len(records), "tokenising", "line", shown=progress) as bar:
        while block := list(islice(lines, _BLOCK)):
            rendered = list(renderer.records(block, counter))
            out.extend(tokenised_examples(rendered, encode, limits, index, counter, bos=bos, eos=eos))
            bar.update(len(rendered))
    return out


def _report(counters: Sequence[RowCounter], kept: int) -> dict[str, int]:
    counts = sum((counter.counts for counter in counters), Counter())  # which leaves zeros out
    counts["kept"], counts["completions"] = kept, sum(len(counter.lengths) for counter in counters)
    return {name: counts[name] for name in (*COUNTS, *sorted(set(counts) - set(COUNTS)))}


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    records: Records,
    chat_template: bool | None,
    counter: RowCounter,
) -> None:
    conversation = records.conversation
    if conversation is not None and chat_template is False:
        raise InputError(
            f"{counter.source}, line {conversation} holds messages, but chat_template is False: leave "
            "it unset, or give prompt and completions as text"
        )
    if (conversation is not None or chat_template) and not tokenizer.chat_template:
        needs = (
            "chat_template is True"
            if conversation is None
            else f"{counter.source}, line {conversation} holds messages"
        )
        raise InputError(
            f"{needs}, but the tokenizer has no chat template: take that of an instruction-tuned model, set "
            "tokenizer.chat_template, or give prompt and completions as text"
        )
    if records.has_text and not chat_template and tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-text token, so completions would have no end: set "
            "tokenizer.eos_token"
        )


def _check_left(examples: Packer, counter: RowCounter) -> None:
    if not len(examples):
        why = ", ".join(
            f"{count} {name}" for name, count in sorted(counter.counts.items()) if name.startswith("dropped")
        )
        raise InputError(
            f"{counter.source}: none of its {counter.counts['read']} lines can be used ({why}): correct the "
            "data or raise max_length"
        )
    if not examples.weighs:
        raise InputError(
            f"{counter.source}: all weights are 0: give some line a weight above 0, or leave the column out"
        )


def _check_cuts(counter: RowCounter, limits: Limits, most: float) -> None:
    """Raise where `max_length` cuts more than this share of the completions."""
    cut, total = sum(length > limits.total for length in counter.lengths), len(counter.lengths)
    if cut <= most * total:
        return
    lengths = sorted(counter.lengths)
    enough = lengths[math.ceil(0.99 * total) - 1]
    raise InputError(
        f"{counter.source}: max_length={limits.total} cuts {cut} of {total} completions, more than "
        f"max_cut_share={most:g} of them: raise max_length ({enough} leaves 99 % whole, {lengths[-1]} all), "
        f"set max_prompt_length, or say max_cut_share: {_rounded_up(cut / total)}"
    )


def _rounded_up(share: float) -> float:
    return min(1.0, math.ceil(share * 100) / 100)
