r"""Training of a language model that writes freely on hard labels, with a held-out stopping rule.

The statistical problem, beside the population problem of `learning`. A user draws n pairs of texts of the
reference, asks once which text of each pair is preferred, keeps a fifth of the pairs apart, trains on the
others for many epochs, and takes the weights at which the loss of the pairs kept apart was lowest
(`train_on_labels`). Nothing in it knows the population.

Source: ours; early stopping is textbook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.bridge.generation.learning import MOMENTS
from distalign.bridge.generation.writer import Texts, Writer
from distalign.checks import InputError, positive
from distalign.preferences import PreferenceLogProbs
from distalign.types import Array

HELD_OUT = 5
"""Every fifth pair is kept apart."""


@dataclass(frozen=True, eq=False)
class Labels:
    """n labelled pairs of texts to each of S prompts.

    Attributes:
        chosen, rejected: (S, n) texts.
        ref_chosen, ref_rejected: (S, n) their log-probabilities under the reference, in nats.
    """

    chosen: Texts
    rejected: Texts
    ref_chosen: Array
    ref_rejected: Array

    def __len__(self) -> int:
        """n, the pairs of each prompt."""
        return self.ref_chosen.shape[1]

    def at(self, places: NDArray[np.int64]) -> Labels:
        """The pairs of every prompt at these places."""
        return Labels(
            self.chosen[:, places],
            self.rejected[:, places],
            self.ref_chosen[:, places],
            self.ref_rejected[:, places],
        )


def labelled(
    texts: Texts, reference: Array, preferences: Callable[[slice], Array], rng: np.random.Generator
) -> Labels:
    """Neighbours among 2 n draws as n pairs, each with one hard label.

    Args:
        texts: (S, 2 n) draws of the reference.
        reference: (S, 2 n) their log-probabilities under it.
        preferences: win matrices (S, K, K) of the texts at a slice of the 2 n.
        rng: of the labels.

    Raises:
        InputError: an odd number of texts.
    """
    count = reference.shape[1]
    if count % 2:
        raise InputError(f"texts must be an even number for each prompt to make pairs, got {count}")
    first, second = np.arange(0, count, 2), np.arange(1, count, 2)
    chance = np.stack([preferences(slice(i, i + 2))[:, 0, 1] for i in first], 1)
    wins = rng.random(chance.shape) < chance
    better, worse = np.where(wins, first, second), np.where(wins, second, first)
    prompts = np.arange(len(reference))[:, None]
    return Labels(
        texts[prompts, better], texts[prompts, worse], reference[prompts, better], reference[prompts, worse]
    )


def label_batch(writer: Writer, labels: Labels) -> PreferenceLogProbs:
    """All pairs as one batch, with gradients to the writer's weights."""
    tokens = np.concatenate([labels.chosen.tokens, labels.rejected.tokens], axis=1)
    scores = writer.scores(writer.layout(Texts(tokens))).view(len(tokens), 2, len(labels))
    chosen, rejected = scores[:, 0].flatten(), scores[:, 1].flatten()
    given = [torch.as_tensor(x).flatten() for x in (labels.ref_chosen, labels.ref_rejected)]
    return PreferenceLogProbs(chosen, rejected, given[0], given[1])


@dataclass(frozen=True)
class Stopped:
    """A run on hard labels.

    Attributes:
        update: the update after which the held-out loss was lowest, whose weights the writer has.
        failed: whether the loss of a batch was not finite at some update, which ended the run.
    """

    update: int
    failed: bool


def train_on_labels(
    writer: Writer,
    objective: Callable[[PreferenceLogProbs], Tensor],
    labels: Labels,
    rng: np.random.Generator,
    *,
    batch: int,
    steps: int,
    every: int,
    patience: int = 5,
    pace: float = 1.0,
) -> Stopped:
    """Train on hard labels and stop at the lowest loss of the pairs kept apart.

    Each update takes `batch` pairs of each prompt; epochs follow each other in new orders. The learning rate
    falls to 0 along a cosine over all updates, as in `learning.descend`. The held-out loss, which is the
    objective's own, is measured before the first update and after each `every` updates; training ends where
    it has not fallen `patience` times in a row.

    Args:
        writer: what learns; it begins at the reference and is left at the best weights.
        objective: f(batch) -> scalar.
        labels: n pairs of each prompt, of which each fifth is kept apart.
        rng: of the order of the pairs.
        batch: pairs of each prompt in an update.
        steps: largest number of updates.
        every: updates between two measurements of the held-out loss.
        patience: as above.
        pace: multiple of the writer's learning rate at the first update.

    Raises:
        InputError: fewer than five pairs, or steps, every or batch is below 1.
    """
    for name, value in (("batch", batch), ("steps", steps), ("every", every)):
        positive(name, value, "it is a number of updates or pairs")
    if len(labels) < HELD_OUT:
        raise InputError(f"labels hold {len(labels)} pairs a prompt: give at least {HELD_OUT}")
    places = np.arange(len(labels))
    kept_apart, training = labels.at(places[::HELD_OUT]), places[places % HELD_OUT > 0]
    writer.reset()
    optimiser = torch.optim.Adam(writer.parameters, lr=pace * writer.learning_rate, betas=MOMENTS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: (1 + math.cos(math.pi * i / steps)) / 2)
    order, best, lowest, update, failed = np.array([], int), writer.weights(), math.inf, 0, False
    for i in range(steps + 1):
        if i % every == 0 or i == steps:
            with torch.no_grad():
                held_out = float(objective(label_batch(writer, kept_apart)))
            if held_out < lowest:
                best, lowest, update = writer.weights(), held_out, i
        if i == steps or i - update >= patience * every:
            break
        while len(order) < batch:
            order = np.concatenate([order, rng.permutation(training)])
        now, order = order[:batch], order[batch:]
        loss = objective(label_batch(writer, labels.at(now)))
        if not torch.isfinite(loss):
            failed = True
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    writer.load(best)
    return Stopped(update, failed)
