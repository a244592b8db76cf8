"""The small populations that the studies of AOT share, and the log-linear policies that are trained on them.

A population has three prompts of five responses each, random features and a linear reward. Its policies are
log-linear, in two parameters unless a study asks for more. One population is fixed (`population`), for the
studies in which only the sample size varies; the others are drawn anew for each replicate.
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
    """The one fixed population, on which sample sizes are varied."""
    return draw(np.random.default_rng(INSTANCE))


@cache
def plane() -> LogLinear:
    """All log-linear policies over the features of the fixed population."""
    return LogLinear(population().features, population().population.reference)


@cache
def law() -> Law:
    """The exact law of the fixed population: its winners as chosen, its losers as rejected responses.

    Each class is a law over all fifteen responses.
    """
    return population().population.thumbs().law()


def frequencies(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """(R, S K) frequencies of chosen and of rejected responses; R = 1 for an exact law."""
    assert law.rejected_weights is not None
    p, q = np.atleast_2d(law.weights), np.atleast_2d(law.rejected_weights)
    return p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Rim:
    """The log-linear policies whose two parameters have norm `radius`: the rim of a bounded class.

    The one parameter left is the angle.
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
    """(N angles, 2) points of the plane with the given norms: every norm at every angle, norm after norm."""
    angle = 2 * np.pi * np.arange(angles) / angles
    return torch.from_numpy(
        (norms[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)).reshape(-1, 2)
    )


def paired_tables(instances: list[LogLinearBradleyTerry]) -> tuple[Tensor, Tensor, Tensor]:
    """For each population the tables of its pairs of different responses.

    Returns the feature differences (R, A, d), the reference margins (R, A) and the weights (R, A). The
    margins of a log-linear policy are linear in theta: reference margin + <theta, feature difference>.
    """
    tables = []
    for instance in instances:
        pairs = instance.population.pairs(distinct=True)
        features, ref = (
            instance.features.reshape(-1, instance.features.shape[-1]),
            np.log(instance.population.reference).ravel(),
        )
        tables.append(
            (
                features[pairs.chosen] - features[pairs.rejected],
                ref[pairs.chosen] - ref[pairs.rejected],
                pairs.weights,
            )
        )
    delta, margin, weights = (torch.from_numpy(np.stack(stacked)) for stacked in zip(*tables, strict=True))
    return delta, margin, weights


def unpaired_tables(instances: list[LogLinearBradleyTerry]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each population the tables of its single responses.

    Returns the features (R, S, K, d), the log-reference (R, S, K), and the laws of winners and of losers
    (R, S K).
    """
    tables = []
    for instance in instances:
        p, q = frequencies(instance.population.thumbs().law())
        tables.append((instance.features, np.log(instance.population.reference), p[0], q[0]))
    features, reference, p, q = (torch.from_numpy(np.stack(part)) for part in zip(*tables, strict=True))
    return features, reference, p, q


def unpaired_batch(
    theta: Tensor, features: Tensor, reference: Tensor, p: Tensor, q: Tensor
) -> PreferenceLogProbs:
    """All responses, as chosen and as rejected ones, under the log-linear policy at `theta` (d,)."""
    table, ref = torch.log_softmax(reference + features @ theta, -1).flatten(), reference.flatten()
    return PreferenceLogProbs(table, table, ref, ref, p, q, validate=False)
