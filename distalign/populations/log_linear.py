"""The population that a log-linear policy fits exactly: Bradley-Terry with a reward linear in features.

Source: the setting of arXiv 2502.01930, Assumption 1; random instances are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distalign.arguments import NONNEGATIVE, POSITIVE, RNG, checked, whole_number
from distalign.checks import InputError, nonnegative, positive
from distalign.populations._arrays import at_least
from distalign.populations.bradley_terry import win_matrix
from distalign.populations.population import Population
from distalign.types import Array


@dataclass(frozen=True, eq=False)
class LogLinearBradleyTerry:
    r"""Bradley-Terry preferences with the reward r(s, a) = beta <theta_star, psi(s, a)>.

    The policy pi(a|s) \propto p_ref(a|s) exp(<theta, psi(s, a)>) has beta log(pi/p_ref) = r, up to a constant
    for each prompt, at theta = theta_star. Where the features of distinct pairs span R^d it has it nowhere
    else. So theta_star minimises the population DPO loss of strength beta.

    Attributes:
        population: win matrix, behaviour law (drawn independently for both responses) and law of the prompt.
        features: (S, K, d) psi, of Euclidean norm at most 1.
        theta_star: (d,) the true parameter, relative to the reference policy.
        beta: KL strength, above 0.
    """

    population: Population
    features: Array
    theta_star: Array
    beta: float

    def with_parameter(self, theta: Any) -> LogLinearBradleyTerry:
        """The same prompts, responses and features judged by another parameter (d,)."""
        theta = np.asarray(theta, dtype=np.float64)
        win = _linear_win(self.features, self.beta * theta)
        population = Population(win, self.population.reference, self.population.prompts)
        return LogLinearBradleyTerry(population, self.features, theta, self.beta)


def _linear_win(features: Array, reward: Array) -> Array:
    """Win matrix (S, K, K) sigma(<reward, psi(s, a) - psi(s, b)>) of a linear reward vector (d,) in nats.

    Example:
        >>> _linear_win(np.array([[[1.0], [0.0]]]), np.array([0.0])).tolist()
        [[[0.5, 0.5], [0.5, 0.5]]]
    """
    if reward.shape != features.shape[-1:]:
        raise InputError(
            f"the parameter has shape {reward.shape} but features have {features.shape[-1]} columns"
        )
    return win_matrix((features @ reward)[None], [1.0], bt_temperature=1.0)


def _many(prompts: int, responses: int, dimension: int) -> str:
    fits = prompts * responses * max(responses, dimension) <= 1e8
    return (
        ""
        if fits
        else f"prompts {prompts} times responses {responses} make too many win probabilities: take fewer"
    )


@checked(
    _many,
    rng=RNG,
    prompts=whole_number(),
    responses=whole_number(2),
    dimension=whole_number(),
    norm=NONNEGATIVE,
    beta=POSITIVE,
)
def log_linear_bradley_terry(
    rng: np.random.Generator, prompts: int, responses: int, dimension: int, *, norm: float, beta: float
) -> LogLinearBradleyTerry:
    """A random instance: features of norm in [1/2, 1], Dirichlet(1) laws, theta_star of the given norm.

    Directions of features and of theta_star are uniform on the sphere. `population.pairs(distinct=True)`
    gives the law over S K (K - 1) pairs of different responses.

    Args:
        rng: numpy generator.
        prompts: S, at least 1.
        responses: K, at least 2.
        dimension: d, at least 1.
        norm: Euclidean norm of theta_star, at least 0.
        beta: KL strength, above 0.

    Source: the set-up (linear rewards, features of norm at most 1) is that of arXiv 2502.01930; this instance
        is ours.

    Example:
        >>> instance = log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=1.0)
        >>> instance.population.pairs(distinct=True).weights.size
        36
        >>> float(np.linalg.norm(instance.theta_star).round(12))
        2.5
    """
    for name, value, least in (
        ("prompts", prompts, 1),
        ("responses", responses, 2),
        ("dimension", dimension, 1),
    ):
        at_least(name, value, least)
    nonnegative("norm", norm, "it is the length of theta_star")
    positive("beta", beta, "it is the KL strength of the DPO loss that theta_star minimises")
    features = _directions(rng, (prompts, responses), dimension) * rng.uniform(
        0.5, 1.0, (prompts, responses, 1)
    )
    theta = norm * _directions(rng, (), dimension)
    reference = rng.dirichlet(np.ones(responses), size=prompts)
    population = Population(_linear_win(features, beta * theta), reference, rng.dirichlet(np.ones(prompts)))
    return LogLinearBradleyTerry(population, features, theta, beta)


def _directions(rng: np.random.Generator, shape: tuple[int, ...], dimension: int) -> Array:
    v = rng.normal(size=(*shape, dimension))
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
