"""The texts of an update: which prompts, and what the policy writes to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distalign.checks import InputError
from distalign.training.data.rows import TokenRow, Tokens
from distalign.training.data.texts import Text
from distalign.training.evaluation.generate import draw, end_tokens, samples_of
from distalign.training.evaluation.prompts import prompts_of, tokenised
from distalign.training.evaluation.samples import Sample
from distalign.training.recipe_online import OnlineRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distalign.training.model.scorer import Scorer


@dataclass(frozen=True)
class Prompts:
    """The prompts of a run, in the order of their file.

    Attributes:
        texts: as the file has them, text or messages.
        tokens: as the model reads them.
    """

    texts: tuple[Text, ...]
    tokens: tuple[Tokens, ...]

    @property
    def digest(self) -> str:
        """Hex digest of the token ids."""
        return hashlib.sha256(repr(self.tokens).encode()).hexdigest()

    def batch(self, step: int, size: int, seed: int) -> list[int]:
        """The prompts of update `step`, counted from 0: passes over all of them, each in an order of its own.

        Example:
            >>> prompts = Prompts(("a", "b", "c"), ((1,), (2,), (3,)))
            >>> sorted(prompts.batch(0, 2, 0) + prompts.batch(1, 2, 0)[:1])
            [0, 1, 2]
        """
        n = len(self.tokens)
        orders = {
            epoch: np.random.default_rng([seed, epoch]).permutation(n)
            for epoch in range(step * size // n, ((step + 1) * size - 1) // n + 1)
        }
        return [int(orders[i // n][i % n]) for i in range(step * size, (step + 1) * size)]


def read_prompts(recipe: OnlineRecipe, tokenizer: PreTrainedTokenizerBase) -> Prompts:
    """The prompts of a recipe.

    Raises:
        InputError: the file cannot be read, or a prompt is empty or leaves no room for a text.
    """
    texts = prompts_of(recipe.train_data)
    tokens = [tokenised(tokenizer, text, recipe.chat_template) for text in texts]
    room = recipe.max_length - recipe.max_new_tokens
    for text, ids in zip(texts, tokens, strict=True):
        if not ids or len(ids) > room:
            raise InputError(
                f"{recipe.train_data}: prompt {str(text)[:60]!r} has {len(ids)} tokens, and max_length "
                f"{recipe.max_length} less max_new_tokens {recipe.max_new_tokens} leaves 1 to {room}: raise "
                "max_length, or leave the prompt out"
            )
    return Prompts(tuple(texts), tuple(tokens))


@dataclass(frozen=True)
class Texts:
    """K texts of the policy to each of the S prompts of an update.

    Attributes:
        rows: (S,) each prompt with its K texts as tokens.
        samples: (S * K,) the same as text, prompt by prompt; `prompt_index` is the place in the batch.
    """

    rows: tuple[TokenRow, ...]
    samples: tuple[Sample, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(S, K)."""
        return len(self.rows), len(self.samples) // len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """(S, K) tokens of each text, the one that ends it included."""
        return np.array([len(one.response_tokens) for one in self.samples]).reshape(self.shape)

    @property
    def cut(self) -> float:
        """Share of texts that did not end by themselves."""
        return float(np.mean([not one.finished for one in self.samples]))

    @property
    def tokens(self) -> int:
        """Tokens of all texts and of their prompts, each prompt once."""
        return int(sum(len(row.prompt) for row in self.rows) + self.lengths.sum())


def write_texts(
    recipe: OnlineRecipe,
    prompts: Prompts,
    scorer: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    update: int,
) -> Texts:
    """Have the policy write the texts of an update, at temperature 1 and under its weights as they are.

    Seed and update decide the random numbers, and the caller's own are left alone.
    """
    chosen, model = prompts.batch(update, recipe.batch_size, recipe.seed), scorer.model
    settings = {
        "samples_per_prompt": recipe.samples_per_prompt,
        "max_new_tokens": recipe.max_new_tokens,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    ends, rows, samples, training = end_tokens(model, tokenizer), [], [], model.training
    model.eval()  # with gradient checkpointing in training mode nothing would be cached
    for first in range(0, len(chosen), recipe.generation_batch_size):
        batch = chosen[first : first + recipe.generation_batch_size]
        drawn = draw(
            model, tokenizer, [prompts.tokens[i] for i in batch], settings, _seed(recipe, update, first), ends
        )
        for i, several in zip(batch, drawn, strict=True):
            found = samples_of(tokenizer, len(rows), prompts.tokens[i], several, ends)
            samples += [replace(sample, prompt=prompts.texts[i]) for sample in found]
            rows.append(TokenRow(prompts.tokens[i], tuple(several)))
    model.train(training)
    return Texts(tuple(rows), tuple(samples))


def _seed(recipe: OnlineRecipe, update: int, first: int) -> int:
    """The seed of the drawing that starts with place `first` of an update; no two drawings share one."""
    sequence = np.random.SeedSequence(recipe.seed, spawn_key=(update, first))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
