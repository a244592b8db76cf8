"""Prompts with a few short candidate responses each, so that the law of a language model on them is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError
from distalign.training.data.rows import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Rows = tuple[TokenRow, ...]

TEXTS: tuple[tuple[str, str], ...] = (
    (
        "On a rainy Sunday I like to",
        "take a walk, stay in bed, read a book, listen to music, go for a run, play chess, watch a movie, "
        "clean the house, bake some bread, call my family, cook a soup, write a letter, visit a museum, "
        "sleep very late",
    ),
    (
        "For breakfast I would like",
        "some fresh fruit, a bowl of cereal, pancakes with syrup, a ham sandwich, nothing at all, two fried "
        "eggs, yogurt and honey, toast with jam, a glass of milk, a hot chocolate, a cheese omelet, bread "
        "and butter, an apple pie, rice and beans",
    ),
    (
        "The city should spend its money on",
        "clean water, better schools, a new stadium, new roads, public parks, safer streets, public "
        "libraries, bus lines, cheaper housing, more police, bike paths, a new bridge, art museums, solar "
        "panels",
    ),
    (
        "The best way to learn a language is to",
        "live abroad, study grammar, sing songs, make mistakes, read many books, talk with people, write "
        "short stories, watch old films, repeat new words, use a dictionary, take a class, find a teacher, "
        "travel a lot, listen to radio",
    ),
)
"""Prompts and fourteen continuations of each, written for this package; people differ on all of them."""

UNLIKELY = "seven purple theorems argue with the quiet bread of yesterday"
"""A continuation that hardly any model gives: responses that people judged, but that the reference does not
write.
"""

WORDS, UNLIKELY_LENGTH = 64, 12
"""Vocabulary of the tiny model, and tokens of its unlikely response: about 37 nats below those of three
tokens.
"""


def tiny_rows(seed: int, prompts: int, responses: int, *, unlikely: bool = False) -> Rows:
    """Random token sequences: prompts of 4 tokens, each with different responses of 3 tokens.

    All responses are equally long, so that none is unlikely for its length.

    Args:
        seed: of the draw.
        prompts: S, at least 1.
        responses: K, at least 2.
        unlikely: add a last response of UNLIKELY_LENGTH tokens; the others stay what they were.

    Example:
        >>> rows = tiny_rows(0, 2, 5)
        >>> len(rows), len(rows[0].prompt), [len(r) for r in rows[0].responses], len(set(rows[0].responses))
        (2, 4, [3, 3, 3, 3, 3], 5)
    """
    check_size(prompts, responses, WORDS - 1)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(64,)))
    rows = []
    for _ in range(prompts):
        firsts = rng.permutation(WORDS)[:responses]  # different first tokens: no two responses are alike
        rest = rng.integers(0, WORDS, (responses, 2))
        rows.append(
            TokenRow(
                tuple(rng.integers(0, WORDS, 4).tolist()),
                tuple((int(first), *more) for first, more in zip(firsts, rest.tolist(), strict=True)),
            )
        )
    if not unlikely:
        return tuple(rows)
    return tuple(
        TokenRow(row.prompt, (*row.responses, tuple(rng.integers(0, WORDS, UNLIKELY_LENGTH).tolist())))
        for row in rows
    )


def text_rows(tokenizer: PreTrainedTokenizerBase, seed: int, prompts: int) -> Rows:
    """Some of the TEXTS with all their candidates, beginning with number `seed` and going round.

    A prompt is plain text to be continued, without a chat template. The tokenizer's beginning-of-text token
    precedes it where there is one.

    Args:
        tokenizer: of the model.
        seed: which prompts; seeds that differ by a multiple of len(TEXTS) share theirs.
        prompts: S, 1 to len(TEXTS).
    """
    if not 1 <= prompts <= len(TEXTS):
        raise InputError(
            f"prompts must be 1 to {len(TEXTS)} for a model of texts, got {prompts}: so many are written"
        )
    chosen = [TEXTS[(seed + i) % len(TEXTS)] for i in range(prompts)]
    return tuple(
        TokenRow(
            tuple(tokenizer(prompt)["input_ids"]),  # type: ignore[arg-type]
            tuple(continuation(tokenizer, text) for text in texts.split(", ")),
        )
        for prompt, texts in chosen
    )


def continuation(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Token ids of a text after a space."""
    return tuple(tokenizer(" " + text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]


def nearest(rows: Rows, log_probs: NDArray[np.float64], responses: int) -> Rows:
    """The K candidates of each prompt whose log-probabilities lie closest together, in the order given.

    A model finds some continuations a million times likelier than others, and a law over such a set would be
    degenerate. So the candidates are sorted by probability, and of all K neighbours in that order those are
    taken whose log-probabilities span the fewest nats. The rule suits any model.

    Args:
        rows: S prompts of at least K candidates, equally many each.
        log_probs: (S, C) log-probabilities of all C candidates under the reference.
        responses: number K of candidates to take.

    Example:
        >>> nearest((TokenRow((1,), ((2,), (3,), (4,))),), np.array([[-1.0, -9.0, -2.0]]), 2)[0].responses
        ((2,), (4,))
    """
    check_size(len(rows), responses, len(rows[0].responses))
    kept = []
    for row, values in zip(rows, log_probs, strict=True):
        order = np.argsort(-values, kind="stable")
        spreads = values[order[: len(order) - responses + 1]] - values[order[responses - 1 :]]
        first = int(spreads.argmin())
        kept.append(
            TokenRow(row.prompt, tuple(row.responses[i] for i in sorted(order[first : first + responses])))
        )
    return tuple(kept)


def check_size(prompts: int, responses: int, most: int) -> None:
    """Raise unless there is a prompt, and 2 to `most` responses."""
    if prompts < 1:
        raise InputError(f"prompts must be at least 1, got {prompts}")
    if not 2 <= responses <= most:
        raise InputError(
            f"responses must be 2 to {most}, got {responses}: so many candidates are there for a prompt"
        )
