"""What studies of AOT share: random populations with log-linear policies of two parameters, and one of them
to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from distalign.policies import LogLinear
from distalign.populations import Law, LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs

INSTANCE, PROMPTS, RESPONSES, DIMENSION, NORM = 3, 3, 5, 2, 1.8
RADIUS = 3.0


def draw(rng: np.random.Generator, dimension: int = DIMENSION) -> LogLinearBradleyTerry:
    """Three prompts of five responses with random features and a linear reward of norm 1.8."""
    return log_linear_bradley_terry(rng, PROMPTS, RESPONSES, dimension, norm=NORM, beta=1.0)


@cache
def population() -> LogLinearBradleyTerry:
    """The population on which sample sizes are varied."""
    return draw(np.random.default_rng(INSTANCE))


@cache
def plane() -> LogLinear:
    """All log-linear policies over its features."""
    return LogLinear(population().features, population().population.reference)


@cache
def law() -> Law:
    """Its winners as chosen and losers as rejected responses, each class over all fifteen responses."""
    return population().population.thumbs().law()


def frequencies(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """(R, S K) frequencies of chosen and of rejected responses; R = 1 for an exact law."""
    assert law.rejected_weights is not None
    p, q = np.atleast_2d(law.weights), np.atleast_2d(law.rejected_weights)
    return p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Rim:
    """The log-linear policies with two parameters of norm `radius`: where a bounded class ends. One
    parameter, the angle.
    """

    policy: LogLinear
    radius: float
    dimension: int = 1

    @property
    def log_reference(self) -> Tensor:
        """(S, K) log-probabilities of the reference."""
        return self.policy.log_reference

    @property
    def directions(self) -> Tensor:
        """(1, 1): the angle moves the policy."""
        return torch.eye(1, dtype=torch.float64)

    def log_probs(self, theta: Tensor) -> Tensor:
        """(S, K) log-probabilities at the angle (1,)."""
        return self.policy.log_probs(self.radius * torch.cat([theta.cos(), theta.sin()]))


def polar(norms: np.ndarray, angles: int) -> Tensor:
    """(N angles, 2) points of the plane with these norms, angle after angle."""
    turn = 2 * np.pi * np.arange(angles) / angles
    return torch.from_numpy(
        (norms[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], -1)).reshape(-1, 2)
    )


def paired_tables(instances: list[LogLinearBradleyTerry]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each population's pairs of different responses: feature differences (R, A, d), reference margins and
    weights (R, A).

    The margins of a log-linear policy are linear: reference margin + <theta, difference>.
    """
    parts = []
    for instance in instances:
        pairs = instance.population.pairs(distinct=True)
        psi, ref = (
            instance.features.reshape(-1, instance.features.shape[-1]),
            np.log(instance.population.reference).ravel(),
        )
        parts.append(
            (psi[pairs.chosen] - psi[pairs.rejected], ref[pairs.chosen] - ref[pairs.rejected], pairs.weights)
        )
    delta, margin, weights = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))
    return delta, margin, weights


def unpaired_tables(instances: list[LogLinearBradleyTerry]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each population: features (R, S, K, d), log-reference (R, S, K), laws of winners and of losers (R, S
    K).
    """
    parts = []
    for instance in instances:
        p, q = frequencies(instance.population.thumbs().law())
        parts.append((instance.features, np.log(instance.population.reference), p[0], q[0]))
    features, reference, p, q = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))
    return features, reference, p, q


def unpaired_batch(
    theta: Tensor, features: Tensor, reference: Tensor, p: Tensor, q: Tensor
) -> PreferenceLogProbs:
    """All responses as chosen and as rejected ones under the log-linear policy at `theta` (d,)."""
    table, ref = torch.log_softmax(reference + features @ theta, -1).flatten(), reference.flatten()
    return PreferenceLogProbs(table, table, ref, ref, p, q, validate=False)
