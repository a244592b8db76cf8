"""Full-batch training of any policy on an exact law or on counts, by the optimiser of language models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.bridge.candidates.policies import Trainable
from distalign.checks import InputError, positive
from distalign.policies import score
from distalign.populations import Law
from distalign.preferences import PreferenceLogProbs

Objective = Callable[[PreferenceLogProbs], Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A training run.

    Attributes:
        log_probs: (S, K) log-probabilities of the trained policy.
        losses: (steps,) loss before each update.
        path: (steps + 1, S, K) log-probabilities before each update and at the end.
    """

    log_probs: NDArray[np.float64]
    losses: NDArray[np.float64]
    path: NDArray[np.float64]

    @property
    def log_ratios(self) -> NDArray[np.float64]:
        """(S, K) log-ratios of the trained policy to the reference, where training began."""
        return self.log_probs - self.path[0]

    @property
    def probs(self) -> NDArray[np.float64]:
        """(S, K) probabilities of the trained policy."""
        return np.exp(self.log_probs)


def train_policy(
    policy: Trainable,
    objective: Objective | Sequence[Objective],
    law: Law | Sequence[Law],
    *,
    steps: int = 80,
    learning_rate: float | None = None,
) -> Trained:
    """Train a policy from the reference by Adam on the whole law.

    The objective and the law are those that `distalign.simulation.fit.fit` takes. A sample of n comparisons
    of finitely many responses is a table of counts, so a step costs the same for every n, and for the
    population. The learning rate falls from `learning_rate` to 0 along a cosine. Adam's moments are 0.9 and
    0.95, and there is no weight decay. The policy is left where training ends; the next call begins at the
    reference again.

    Several objectives, each with a law of its own, are trained together on their mean: one for each prompt,
    for instance, so that the prompts pose problems that have nothing in common but the weights.

    Args:
        policy: of `distalign.bridge.candidates.policies.load`.
        objective: f(batch) -> scalar, a `functools.partial` of `distalign.objectives`; or several of them.
        law: exact law or counts without a replicate axis; `Law.replicate` takes one of many. As many as there
            are objectives; `at_prompt` numbers the responses of one prompt.
        steps: number of updates.
        learning_rate: that of the first step; None means the policy's own.

    Raises:
        InputError: the law has replicates or names responses the policy does not have, steps is below 1, or
            the loss is not finite at some step (the objective left its domain, or the rate is too high).

    Source: ours.

    Example:
        >>> from functools import partial
        >>> from distalign.bridge.candidates.policies import load
        >>> from distalign.objectives import dpo
        >>> law = Law(chosen=[0, 1], rejected=[1, 0], weights=[3, 1])
        >>> policy = load("tabular", 0, responses=2)
        >>> u, v = train_policy(policy, partial(dpo, beta=1.0), law, steps=200).log_ratios[0]
        >>> round(float(u - v), 3), round(float(np.log(3)), 3)
        (1.099, 1.099)
    """
    objectives = [objective] if callable(objective) else list(objective)
    data = [_tensors(policy, one) for one in ([law] if isinstance(law, Law) else law)]
    if len(objectives) != len(data):
        raise InputError(
            f"law: there are {len(data)} laws for {len(objectives)} objectives, give one for each"
        )
    positive("steps", steps, "80 bring an adapter to the minimiser of most objectives")
    policy.reset()
    optimiser = torch.optim.Adam(
        policy.parameters, lr=learning_rate or policy.learning_rate, betas=(0.9, 0.95)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: (1 + math.cos(math.pi * i / steps)) / 2)
    losses, path = [], []
    for _ in range(steps):
        theta = policy.theta()
        loss = torch.stack(
            [f(score(policy.start, theta, *atoms)) for f, atoms in zip(objectives, data, strict=True)]
        ).mean()
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} at step {len(losses)}: lower learning_rate, or give the "
                "objective a stabiliser that keeps it finite outside its domain"
            )
        losses.append(loss.item())
        path.append(policy.start.log_probs(theta.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        path.append(policy.log_probs())
    return Trained(path[-1].numpy(), np.array(losses), torch.stack(path).numpy())


def at_prompt(law: Law, prompt: int, responses: int) -> Law:
    """The law of one prompt's responses 0, ..., K - 1, numbered as those of prompt s among several: s K + y.

    Args:
        law: of responses to one prompt.
        prompt: s.
        responses: K.

    Source: ours.

    Example:
        >>> at_prompt(Law([0, 1], [1, 0], [3, 1]), prompt=2, responses=2).chosen.tolist()
        [4, 5]
    """
    first = prompt * responses
    return Law(law.chosen + first, law.rejected + first, law.weights, law.rejected_weights)


def _tensors(policy: Trainable, law: Law) -> tuple[Tensor, ...]:
    """Chosen, rejected, and their weights: one tensor for pairs, two for unpaired data."""
    if law.replicates is not None:
        raise InputError(f"the law has {law.replicates} replicates: train on law.replicate(i)")
    size = policy.start.log_reference.numel()
    if max(law.chosen.max(initial=0), law.rejected.max(initial=0)) >= size:
        raise InputError(
            f"the law names responses beyond the {size} of the policy: response y of prompt s is numbered s "
            "K + y"
        )
    weights = [torch.as_tensor(w) for w in (law.weights, law.rejected_weights) if w is not None]
    return torch.as_tensor(law.chosen), torch.as_tensor(law.rejected), *weights
