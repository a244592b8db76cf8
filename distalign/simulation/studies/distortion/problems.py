"""Random alignment problems, on which bounds over all populations are put to the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import WorstCase
from distalign.types import Array


@dataclass(frozen=True, eq=False)
class AlignmentProblem:
    """What a rule is given: who the users are, what was compared, and how far the policy may move.

    Attributes:
        users: Bradley-Terry users with their utilities, weights and temperature.
        comparison: (K,) comparison distribution mu, from which both responses of a pair are drawn.
        log_reference: (K,) log-probabilities of the reference policy.
        kl_budget: the largest KL(pi || pi_ref), in nats.
    """

    users: BradleyTerryUsers
    comparison: Array
    log_reference: Array
    kl_budget: float


LEAST = 1e-3
"""Below it float64 may not tell a win matrix from one of ties, while distortion has no scale."""


def random_problem(rng: np.random.Generator, near: WorstCase, largest: int = 12) -> AlignmentProblem:
    """A random problem: four kinds of users, any comparisons, any reference.

    The utilities are uniform; or mostly 0 or 1; or mostly 0 with a few small ones; or those of the worst
    case `near`, disturbed. The small utilities, and the weights of users before they are normalised, are at
    least `LEAST`. The reference goes from uniform to log-probabilities of -10^4, the budget from 3e-4 to 20
    nats.
    """
    kind, temperature = rng.integers(4), near.users.bt_temperature
    if kind == 3:
        utilities = near.users.utilities * np.exp(0.2 * rng.standard_normal(near.users.utilities.shape))
        weights = near.users.weights * np.exp(0.2 * rng.standard_normal(len(near.users.weights)))
    else:
        shape = (int(rng.integers(1, 9)), int(rng.integers(2, largest + 1)))
        sparse = (rng.random(shape) < 0.3) * (LEAST + rng.random(shape) ** 4)
        utilities = (rng.random(shape), rng.beta(0.2, 0.2, shape), sparse)[kind]
        weights = LEAST + rng.dirichlet(np.full(shape[0], rng.choice([0.2, 1, 5])))
    users = BradleyTerryUsers(np.minimum(utilities, 1), weights / weights.sum(), temperature)
    size = users.utilities.shape[1]
    log_reference = rng.choice([0, 1, 10, 1e3, 1e4]) * rng.standard_normal(size)
    comparison = rng.dirichlet(np.full(size, rng.choice([0.1, 1.0]))) + 1e-12
    return AlignmentProblem(
        users,
        comparison / comparison.sum(),
        log_reference - logsumexp(log_reference),
        float(np.exp(rng.uniform(np.log(3e-4), np.log(20)))),
    )


def unconstrained(case: WorstCase) -> AlignmentProblem:
    """A worst case with a uniform reference and a budget that holds every lottery."""
    size = len(case.comparison)
    return AlignmentProblem(
        case.users, case.comparison, np.full(size, -np.log(size)), float(np.log(size)) + 1
    )
