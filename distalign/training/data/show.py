"""Data as the model will see them: tokens of the first rows, what is scored in them, and their lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from distalign.training.data.rows import Example, PreferenceData, scored_count, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKS = ("[[", "]]")
"""Around what is scored where there are no colours."""

_BAR = 40


@dataclass(frozen=True)
class Piece:
    """Tokens that stand together, as text.

    Attributes:
        text: the tokens, with a bar between each two.
        scored: whether the objective counts them.
    """

    text: str
    scored: bool

    def marked(self) -> str:
        """The text, in marks if it is scored."""
        return f"{MARKS[0]}{self.text}{MARKS[1]}" if self.scored else self.text


def row_pieces(
    example: Example, tokenizer: PreTrainedTokenizerBase, most: int = 240
) -> Iterator[tuple[str, list[Piece]]]:
    """(what it is, its pieces) of the prompt and of each completion of an example.

    Args:
        example: of the data.
        tokenizer: that made it.
        most: tokens of one text that are shown; of a longer one its beginning and its end.
    """
    title = f"line {example.line}, prompt, {len(example.prompt)} tokens"
    yield title, _pieces(example.prompt, tokenizer, most, prompt=True)
    for name, side in (("chosen", example.chosen), ("rejected", example.rejected)):
        if side is not None:
            title = f"{name}, {len(side)} tokens, {scored_count(side)} scored"
            yield title, _pieces(side, tokenizer, most, prompt=False)


def _pieces(
    tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase, most: int, *, prompt: bool
) -> list[Piece]:
    if len(tokens) <= most:
        return _runs(tokens, tokenizer, prompt)
    half, left_out = most // 2, len(tokens) - most // 2 * 2
    between = Piece(f" ... {left_out} tokens ... ", scored=False)
    first, last = tokens[:half], tokens[len(tokens) - half :]
    return [*_runs(first, tokenizer, prompt), between, *_runs(last, tokenizer, prompt)]


def _runs(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase, prompt: bool) -> list[Piece]:
    """Neighbouring tokens that are all scored, or all not."""
    runs = groupby(tokens, lambda token: not prompt and token >= 0)
    return [Piece("|".join(_text(token, tokenizer) for token in token_ids(run)), to) for to, run in runs]


def _text(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """One token as text that stays on its line."""
    text = str(tokenizer.decode([token]))
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def lengths_table(data: PreferenceData, bins: int = 10) -> list[str]:
    """How long prompt and completion are together: percentiles, and a histogram in characters.

    Example:
        >>> data = PreferenceData.of([Example((1,), (2,) * n, (3,)) for n in (2, 4, 9)])
        >>> print(*lengths_table(data, bins=2), sep="\\n")
        tokens of prompt and completion: median 3, 90 % at most 10, 99 % at most 10, longest 10
             2 -     5  5  ########################################
             6 -    10  1  ########
    """
    lengths = np.array(
        [len(e.prompt) + len(s) for e in data.examples for s in (e.chosen, e.rejected) if s is not None]
    )
    median, most, nearly = (int(np.quantile(lengths, q, method="higher")) for q in (0.5, 0.9, 0.99))
    title = (
        f"tokens of prompt and completion: median {median}, 90 % at most {most}, 99 % at most {nearly}, "
        f"longest {lengths.max()}"
    )
    edges = np.unique(np.linspace(lengths.min(), lengths.max() + 1, bins + 1).round().astype(int))
    counts = np.histogram(lengths, edges)[0]
    width, most = len(f"{counts.max():,}"), counts.max()
    bars = ("#" * math.ceil(_BAR * count / most) for count in counts)
    rows = zip(edges, edges[1:], counts, bars)
    return [
        title,
        *(f"{low:6d} - {high - 1:5d}  {count:{width},}  {bar}".rstrip() for low, high, count, bar in rows),
    ]
