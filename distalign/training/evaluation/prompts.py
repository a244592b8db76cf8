"""Prompts to answer: read from a file, and as token ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.training.data.rows import Tokens
from distalign.training.data.sources import BadRow, read_rows
from distalign.training.data.texts import text_of
from distalign.training.data.tokenising import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompts_of(source: str | Path) -> list[Any]:
    """The distinct prompts of a .jsonl, .csv or .parquet file with a column `prompt`, in order of appearance.

    Raises:
        InputError: no such file, no such column, or a malformed line.
    """
    distinct: dict[str, Any] = {}
    for line, row in read_rows(source):
        if isinstance(row, BadRow):
            raise InputError(f"{source}, line {line}: {row}")
        prompt = row.get("prompt")
        if not prompt:
            raise InputError(f"{source}, line {line} has no prompt: each line needs the field `prompt`")
        distinct.setdefault(repr(prompt), prompt)
    if not distinct:
        raise InputError(f"{source} holds no prompts: give at least one line with the field `prompt`")
    return list(distinct.values())


def tokenised(tokenizer: PreTrainedTokenizerBase, prompt: Any, chat_template: bool | None = None) -> Tokens:
    """Token ids of a prompt, which is text or a list of messages, up to where the answer starts.

    Args:
        tokenizer: of the model.
        prompt: text or messages.
        chat_template: None renders messages by the template and leaves text alone; True makes text a user's
            message.

    Raises:
        InputError: the tokenizer has no template, or it refuses the messages.
    """
    if isinstance(prompt, str) and not chat_template:
        return tuple(tokenizer(prompt)["input_ids"])  # type: ignore[arg-type]
    if not tokenizer.chat_template:
        raise InputError(
            "the prompts are messages but the tokenizer has no chat template: give prompts as text, or take "
            "an instruction-tuned model"
        )
    try:
        asked = text_of({"prompt": prompt}, "prompt")
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        text = Renderer(tokenizer).text(messages, {}, opens=True)
    except BadRow as error:
        raise InputError(f"a prompt cannot be used: {error}") from error
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]
