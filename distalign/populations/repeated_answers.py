"""Annotators who answer the same comparison twice, afresh each time."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from distalign.arguments import RNG, checked, instance, whole_number
from distalign.checks import InputError
from distalign.populations._arrays import Integers, at_least
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array


@checked(users=instance(BradleyTerryUsers))
def repeated_wins(users: BradleyTerryUsers) -> Array:
    """(K, K) probability that one user, asked twice, prefers x to y both times:  sum_k w_k sigma(b (u_x -
    u_y))^2.

    Raises:
        InputError: the users answer more than one prompt.

    Source: exact.

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=np.log(3))
        >>> repeated_wins(users).round(6).tolist()
        [[0.25, 0.3125], [0.3125, 0.25]]
    """
    return np.einsum("k,kxy->xy", users.weights, _answers(users) ** 2)


@checked(users=instance(BradleyTerryUsers), rng=RNG, replicates=whole_number(1, 1_000_000))
def sample_repeated(
    users: BradleyTerryUsers, number: int, rng: np.random.Generator, *, replicates: int = 1
) -> tuple[Integers, Integers]:
    """Answers of fresh users who are each asked one pair, twice; `number` users for every pair.

    Args:
        users: types, weights, temperature; one prompt.
        number: users for each of the K (K - 1)/2 pairs x < y.
        rng: numpy generator.
        replicates: independent repetitions R.

    Returns:
        (P, 2) the pairs, and (R, P, T, 3) counts of users by pair, type, and answers: x twice, one each, y
        twice.

    Raises:
        InputError: more than one prompt, or a size is too small.

    Source: exact, by multinomial counts.

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=2.0)
        >>> pairs, counts = sample_repeated(users, 100, np.random.default_rng(0))
        >>> pairs.tolist(), counts.shape, int(counts.sum())
        ([[0, 1]], (1, 1, 2, 3), 100)
    """
    at_least("number", number, 1)
    at_least("replicates", replicates, 1)
    pairs, law = answer_law(users)
    counts = np.stack(
        [rng.multinomial(number, row.ravel() / row.sum(), size=replicates) for row in law], axis=1
    )
    return pairs, counts.reshape(replicates, *law.shape)


@checked(users=instance(BradleyTerryUsers))
def answer_law(users: BradleyTerryUsers) -> tuple[Integers, Array]:
    """The pairs x < y, (P, 2), and the (P, T, 3) law of type and answers that `sample_repeated` draws from.

    Source: exact.

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0]], [1.0], bt_temperature=np.log(3))
        >>> answer_law(users)[1].round(4).tolist()
        [[[0.5625, 0.375, 0.0625]]]
    """
    answers = _answers(users)
    pairs = np.array(np.triu_indices(answers.shape[1], 1)).T
    p = answers[:, pairs[:, 0], pairs[:, 1]].T
    law = np.stack([p**2, 2 * p * (1 - p), (1 - p) ** 2], axis=2) * users.weights[:, None]
    return pairs, law


def _answers(users: BradleyTerryUsers) -> Array:
    """(T, K, K) probability that each type prefers x to y."""
    if users.utilities.ndim != 2:
        raise InputError("users answer several prompts: give the utilities of one prompt")
    u = users.bt_temperature * users.utilities
    return expit(u[:, :, None] - u[:, None, :])
