r"""Training of a language model that writes freely, on fresh texts at each step.

Groups. At each update every prompt has K fresh draws of the reference, and all K (K - 1) ordered pairs of
them enter an objective of `distalign.objectives` at once, each with the probability P(y_i > y_j) that the
first is preferred as its weight (`group_batch`): both orders of a pair, so no label is drawn and none is
noisy, and K scores carry all pairs. No draw is used twice, so nothing can be memorised: this is the
population problem.

On-policy. `policy_gradient` is for objectives that need texts of the policy itself: RLHF with any
f-divergence, and self-play, which is NLHF.

`descend` is the optimiser of both: Adam with a learning rate that falls along a cosine.

Source: ours; policy gradients with leave-one-out baselines are Kool et al. 2019 and arXiv 2402.14740.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distalign.bridge.generation.writer import Texts, Writer
from distalign.checks import InputError, positive
from distalign.divergences import Divergence, divergence
from distalign.policy_gradient import mean_of_others
from distalign.preferences import PreferenceLogProbs
from distalign.types import Array

MOMENTS = (0.9, 0.98)
"""Of Adam: the second moment forgets within fifty updates, a tenth of a run."""


def descend(writer: Writer, loss: Callable[[int], Tensor], *, steps: int, pace: float = 1.0) -> Array:
    """Train a writer from the reference by Adam, and leave it where training ends.

    Args:
        writer: what learns; it begins at the reference.
        loss: the loss of update i as a scalar, with gradients.
        steps: number of updates.
        pace: multiple of the writer's learning rate at the first update, from which it falls to 0 along a
            cosine.

    Returns:
        (steps,) loss before each update.

    Raises:
        InputError: steps is below 1, or the loss is not finite at some step.
    """
    positive("steps", steps, "a few hundred bring the tiny writer to its optimum")
    writer.reset()
    optimiser = torch.optim.Adam(writer.parameters, lr=pace * writer.learning_rate, betas=MOMENTS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: (1 + math.cos(math.pi * i / steps)) / 2)
    losses = []
    for i in range(steps):
        value = loss(i)
        if not torch.isfinite(value):
            raise InputError(
                f"the loss is {value.item()} at update {i}: lower the pace, or give the objective a "
                "stabiliser that keeps it finite outside its domain"
            )
        losses.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    return np.array(losses)


def group_batch(scores: Tensor, reference: Tensor, win: Tensor, **fields: Any) -> PreferenceLogProbs:
    """All ordered pairs of each group of texts as one batch, weighted with soft labels.

    Entry (s, i, j) is "y_i preferred to y_j" with weight P(y_i > y_j), for i != j. A loss of pairs becomes
    its expectation over labels; one of classes gets each text with its expected share of wins, or of defeats.

    Args:
        scores: (S K,) log-probabilities of K texts to each of S prompts, with gradients.
        reference: (S K,) those of the reference.
        win: (S, K, K) P(y_i preferred to y_j).
        fields: more of `PreferenceLogProbs`, one entry for each pair.

    Example:
        >>> win = torch.tensor([[[0.5, 0.8], [0.2, 0.5]]])
        >>> batch = group_batch(torch.tensor([1.0, 2.0]), torch.zeros(2), win)
        >>> batch.chosen.tolist(), batch.rejected.tolist(), [round(w, 1) for w in batch.weights.tolist()]
        ([1.0, 2.0], [2.0, 1.0], [0.8, 0.2])
    """
    groups, size = win.shape[:2]
    first, second = (~torch.eye(size, dtype=torch.bool)).nonzero().T
    base = size * torch.arange(groups)[:, None]
    chosen, rejected = (base + first).flatten(), (base + second).flatten()
    return PreferenceLogProbs(
        chosen=scores[chosen],
        rejected=scores[rejected],
        ref_chosen=reference[chosen],
        ref_rejected=reference[rejected],
        weights=win[:, first, second].flatten(),
        **fields,
    )


def train_on_groups(
    writer: Writer,
    objective: Callable[[PreferenceLogProbs], Tensor],
    texts: Texts,
    reference: Array,
    preferences: Callable[[slice], Array],
    *,
    group: int,
    pace: float = 1.0,
) -> Array:
    """Train on fresh groups of draws of the reference, each once.

    Args:
        writer: what learns.
        objective: f(batch) -> scalar, a `functools.partial` of `distalign.objectives`.
        texts: (S, N) draws of the reference; update i takes those from i K to (i + 1) K of each prompt.
        reference: (S, N) their log-probabilities under the reference.
        preferences: win matrices (S, K, K) of the texts at a slice of the N.
        group: K, the draws of each prompt that an update takes.
        pace: as in `descend`.

    Returns:
        (N // K,) loss before each update.

    Raises:
        InputError: a group has fewer than two texts, or a reason of `descend`.
    """
    if group < 2:
        raise InputError(f"group must be at least 2, got {group}: preferences compare two texts")
    given = torch.as_tensor(reference)

    def loss(i: int) -> Tensor:
        part = slice(i * group, (i + 1) * group)
        scores = writer.scores(writer.layout(texts[:, part]))
        win = torch.as_tensor(preferences(part))
        return objective(group_batch(scores, given[:, part].flatten(), win))

    return descend(writer, loss, steps=texts.tokens.shape[1] // group, pace=pace)


def policy_gradient(
    writer: Writer,
    gain: Callable[[Texts], Array],
    *,
    beta: float,
    steps: int,
    group: int,
    generator: torch.Generator,
    f: str | Divergence = "reverse_kl",
    pace: float = 1.0,
) -> Array:
    r"""Train on texts of the policy itself, to maximise  E_pi g - beta D_f(pi || pi_ref).

    The gradient of the penalty is E_pi[f'(rho) grad log pi], for E_ref f(rho) is the divergence, so that of
    the whole is E_pi[(g - beta f'(rho)) grad log pi], estimated on K fresh texts a prompt with the mean over
    the others as the baseline of each.

    Args:
        writer: what learns.
        gain: g of (S, K) texts; it may depend on the other texts of a prompt, as `self_play` does.
        beta: price of the divergence, in units of g.
        steps: number of updates.
        group: K, at least 2.
        generator: of the random numbers of the draws, on the CPU.
        f: the divergence.
        pace: as in `descend`.

    Returns:
        (steps,) mean of g - beta f'(rho) at each update.

    Raises:
        InputError: group is below 2, or a reason of `descend`.
    """
    if group < 2:
        raise InputError(f"group must be at least 2, got {group}: the baseline is the mean over the others")
    link, values = divergence(f).link, []

    def loss(i: int) -> Tensor:
        texts = writer.draw(group, generator)
        laid, shape = writer.layout(texts), texts.lengths.shape
        with writer.reference(), torch.no_grad():
            reference = writer.scores(laid).view(shape)
        scores = writer.scores(laid).view(shape)
        value = torch.as_tensor(gain(texts)) - beta * link(scores.detach() - reference)
        values.append(float(value.mean()))
        return -(leave_one_out(value) * scores).mean()

    descend(writer, loss, steps=steps, pace=pace)
    return np.array(values)


def leave_one_out(value: Tensor) -> Tensor:
    """(S, K) values minus the mean over the other texts of the prompt (`policy_gradient.mean_of_others`).

    Example:
        >>> leave_one_out(torch.tensor([[3.0, 0.0, 0.0]])).tolist()
        [[3.0, -1.5, -1.5]]
    """
    return value - mean_of_others(value)


def self_play(win: Array) -> Array:
    r"""(S, K) margins 2P - 1 of each text against the other texts of its prompt, the gain of self-play.

    Maximising it less lambda KL ends at the equilibrium of `tilts.nlhf`. The baseline of a text must not look
    at the text itself, and it would: of the margins of the others, those against this text are what it won.
    The mean of the margins among the others alone is exactly 0, for the game is symmetric. So the margins are
    shrunk by (K - 1)/K, which is what the mean over the others stretches them by (`leave_one_out`).

    Args:
        win: (S, K, K) P(y_i preferred to y_j), 1/2 on the diagonal.

    Example:
        >>> margins = self_play(np.array([[[0.5, 0.75], [0.25, 0.5]]]))
        >>> leave_one_out(torch.as_tensor(margins)).tolist()
        [[0.5, -0.5]]
    """
    return (2 * win - 1).mean(2)
