"""What studies of free generation share: a small writer with draws for evaluation, and both roads.

The writer is a random GPT-2 of one layer over sixteen words that writes up to six tokens: twelve million
texts, each with a probability of its own, and cheap enough to be trained a hundred times. What it draws for
evaluation is never trained on. Both are functions of the seed alone, so that methods which are trained in
different cells are compared on the same draws.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from distalign.bridge.generation.estimates import Check, Fresh, Reweighted, overlap, roads
from distalign.bridge.generation.token_scores import Score, standardised, token_score
from distalign.bridge.generation.writer import Texts, Writer, load_writer, tiny_writer
from distalign.types import Array

ROADS_LEVEL = 1 - 1e-4
"""Of the intervals in which both roads agree, all prompts of a cell together: those of a hundred cells hold
at once in 99 of 100 ledgers.
"""


@dataclass(frozen=True, eq=False)
class World:
    """A writer at its reference, and draws of it.

    Attributes:
        seed: of all of it.
        writer: with S prompts.
        draws: (S, N) texts of the reference, for predictions and measurements.
        reference: (S, N) their log-probabilities.
    """

    seed: int
    writer: Writer
    draws: Texts
    reference: Array

    def score(self, number: int) -> Score:
        """A random score of tokens and bigrams, standardised on the draws; each number is another one."""
        return standardised(token_score(100 * self.seed + number), self.draws)

    def pool(self, count: int, rng: np.random.Generator) -> tuple[Texts, Array]:
        """`count` more draws of the reference to each prompt, to train on, and their log-probabilities."""
        self.writer.reset()
        texts = self.writer.draw(count, generator_of(rng))
        return texts, self.writer.log_prob(texts)

    def measured(self, rng: np.random.Generator, count: int | None = None) -> Measured:
        """The writer as it is now, on the draws and on `count` fresh texts (None: as many as draws)."""
        log_rho = self.writer.log_prob(self.draws) - self.reference
        fresh = self.writer.draw(count or self.reference.shape[1], generator_of(rng))
        own = self.writer.log_prob(fresh)
        with self.writer.reference():
            return Measured(Reweighted(log_rho), fresh, Fresh(own - self.writer.log_prob(fresh)))


@dataclass(frozen=True, eq=False)
class Measured:
    """A trained writer, by two roads.

    Attributes:
        reweighted: on the draws of the reference.
        texts, fresh: texts of its own, and their log-ratios.
    """

    reweighted: Reweighted
    texts: Texts
    fresh: Fresh

    @property
    def log_rho(self) -> Array:
        """(S, N) log pi - log pi_ref of the draws."""
        return self.reweighted.log_rho

    @cached_property
    def in_range(self) -> bool:
        """Whether the draws carry the trained writer: else only its fresh texts say what it does."""
        return not self.reweighted.refusals()

    def kl(self) -> Array:
        """(S,) KL(pi || pi_ref) in nats on the draws, or on fresh texts where the draws do not carry it."""
        return self.reweighted.kl() if self.in_range else self.fresh.kl()

    def apart(self, values: Array, fresh_values: Array) -> Array:
        """(S,) how far the two roads are apart, 1 where an interval of their difference just holds 0.

        The larger of two: for the mean of a score, and for the overlap of model and reference, which a writer
        that has left the draws does not spoil.

        Args:
            values: (S, N) scores of the draws.
            fresh_values: (S, M) scores of the fresh texts.
        """
        overlapping = overlap(self.log_rho, self.fresh.log_ratio, level=ROADS_LEVEL)
        if not self.in_range:
            return apart(overlapping)
        scored = roads(self.reweighted.terms(values), fresh_values, level=ROADS_LEVEL)
        return np.maximum(apart(overlapping), apart(scored))


def world(policy: str, seed: int, prompts: int, draws: int) -> World:
    """The world of a seed at its reference: the small writer for `tiny`, else the policy of this name."""
    here = _world(policy, seed, prompts, draws)
    here.writer.reset()
    return here


@lru_cache(maxsize=4)
def _world(policy: str, seed: int, prompts: int, draws: int) -> World:
    writer = (
        tiny_writer(seed, prompts=prompts, sharpness=4.0, layers=1, longest=6)
        if policy == "tiny"
        else load_writer(policy, seed, prompts=prompts)
    )
    texts = writer.draw(draws, torch.Generator().manual_seed(seed))
    return World(seed, writer, texts, writer.log_prob(texts))


def generator_of(rng: np.random.Generator) -> torch.Generator:
    """A generator of torch that is seeded by one of NumPy."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def apart(check: Check) -> Array:
    """(S,) |difference| over the reach of its interval towards 0: above 1 where the interval misses 0."""
    found = check.difference
    reach = np.where(found > 0, found - check.low, check.high - found)
    return np.divide(np.abs(found), reach, out=np.zeros_like(found), where=found != 0)
