"""Users who rank all responses at once, by Plackett-Luce, and answer every question from that one ranking.

A user of utilities u ranks by u + Gumbel noise / b: the first place goes to x with probability softmax(b
u)_x, the next among the rest alike. Each pair is then answered by Bradley-Terry, P(x above y) = sigma(b (u(x)
- u(y))), exactly as with `BradleyTerryUsers`, but the answers of one user agree with each other. So the win
matrix is the same, and samples differ.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from scipy.special import softmax

from distalign.arguments import LAW, RNG, checked, instance, whole_number
from distalign.checks import InputError
from distalign.populations._arrays import Integers, at_least, probabilities
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

_LARGEST_ENUMERATED = 6
_CHUNK = 2**20


def _countable(users: BradleyTerryUsers, number: int, comparisons: int, replicates: int) -> str:
    """A relation: the counts are whole numbers of 64 bits, and the arrays and draws have an end."""
    size = users.utilities.shape[-1]
    answers, most = number * comparisons * replicates, 10**18 if size <= _LARGEST_ENUMERATED else 10**10
    if answers > most:
        return (
            f"number times comparisons times replicates is {answers:g}, above {most:g} for {size} responses: "
            "take fewer"
        )
    rows = replicates * max(size**2, 720)
    return (
        "" if rows <= 10**9 else f"replicates must be at most {10**9 // max(size**2, 720)}, got {replicates}"
    )


@checked(users=instance(BradleyTerryUsers))
def first_choices(users: BradleyTerryUsers) -> Array:
    """Share (K,) of users who rank each response first:  sum_k w_k softmax(b u_k).

    Raises:
        InputError: the users answer more than one prompt.

    Source: Luce 1959; exact.

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.75, 0.25], bt_temperature=100.0)
        >>> first_choices(users).round(6).tolist()
        [0.75, 0.25]
    """
    _one_prompt(users)
    return users.weights @ softmax(users.bt_temperature * users.utilities, axis=1)


@checked(users=instance(BradleyTerryUsers))
def ranking_law(users: BradleyTerryUsers) -> tuple[Integers, Array]:
    """Every ranking of the responses and its share in the population.

        sum_k w_k prod_i a_i / (a_i + ... + a_K),   a = e^{b u_k} in the order of the ranking

    Returns:
        (K!, K) rankings, best response first, and their (K!,) probabilities.

    Raises:
        InputError: more than 6 responses (720 rankings), or more than one prompt.

    Source: Plackett 1975; exact.

    Example:
        >>> rankings, law = ranking_law(BradleyTerryUsers([[1.0, 0.0]], [1.0], bt_temperature=1.0))
        >>> rankings.tolist(), law.round(6).tolist()
        ([[0, 1], [1, 0]], [0.731059, 0.268941])
    """
    size = _one_prompt(users)
    if size > _LARGEST_ENUMERATED:
        raise InputError(
            f"users have {size} responses, whose rankings are too many to list: at most "
            f"{_LARGEST_ENUMERATED}; `sample_wins` draws rankings of any number"
        )
    rankings = np.array(list(permutations(range(size))))
    ordered = users.bt_temperature * users.utilities[:, rankings]
    left = np.logaddexp.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1]
    return rankings, users.weights @ np.exp((ordered - left).sum(-1))


@checked(
    _countable,
    users=instance(BradleyTerryUsers),
    number=whole_number(),
    comparisons=whole_number(),
    pair_law=LAW.of("K"),
    rng=RNG,
    replicates=whole_number(),
)
def sample_wins(
    users: BradleyTerryUsers,
    number: int,
    comparisons: int,
    pair_law: Any,
    rng: np.random.Generator,
    *,
    replicates: int = 1,
) -> Integers:
    """Count wins when each of `number` fresh users answers `comparisons` questions from one ranking.

    This is the twin of `BradleyTerryUsers.sample_wins`, with the same questions and the same conventions. Up
    to six responses the rankings are enumerated: given how many users hold each, the wins are multinomial,
    which is exact at a cost that does not grow with the sizes. Beyond six responses every user is drawn.

    Args:
        users: types, weights, temperature; one prompt.
        number: number of users n.
        comparisons: questions for each user d.
        pair_law: (K,) law mu of each response shown.
        rng: numpy generator.
        replicates: independent repetitions R.

    Returns:
        (R, K, K) integer, entry (x, y) = how often x won against y; the counts sum to number * comparisons.

    Raises:
        InputError: more than one prompt, or a size is too small or too large.

    Source: arXiv 2505.23749, Section 2, allows any correlation inside a user; this one is its example.

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=2.0)
        >>> sample_wins(users, 100, 3, [0.5, 0.5], np.random.default_rng(0)).sum()
        np.int64(300)
    """
    size = _one_prompt(users)
    for name, value in (("number", number), ("comparisons", comparisons), ("replicates", replicates)):
        at_least(name, value, 1)
    mu = probabilities("pair_law", pair_law, (size,))
    if size <= _LARGEST_ENUMERATED:
        return _enumerated(users, number, comparisons, mu, rng, replicates)
    wins = np.zeros((replicates, size * size), dtype=np.int64)
    step = max(1, _CHUNK // (comparisons + size))
    for row in wins:
        for start in range(0, number, step):
            row += _drawn(users, min(step, number - start), comparisons, mu, rng)
    return wins.reshape(replicates, size, size)


def _enumerated(
    users: BradleyTerryUsers,
    number: int,
    comparisons: int,
    mu: Array,
    rng: np.random.Generator,
    replicates: int,
) -> Integers:
    rankings, law = ranking_law(users)
    holders = rng.multinomial(number, law / law.sum(), size=replicates)
    place, size = np.argsort(rankings, axis=1), len(mu)
    wins = np.zeros((replicates, size * size), dtype=np.int64)
    for count, position in zip(holders.T, place, strict=True):
        above = position[:, None] < position
        joint = (np.outer(mu, mu) * (2 * above + np.eye(size))).ravel()
        support = np.flatnonzero(joint)
        wins[:, support] += rng.multinomial(count * comparisons, joint[support] / joint[support].sum())
    return wins.reshape(replicates, size, size)


def _drawn(
    users: BradleyTerryUsers, number: int, comparisons: int, mu: Array, rng: np.random.Generator
) -> Integers:
    """Counts (K K,) from users drawn one by one: utility plus Gumbel noise orders the responses."""
    size = len(mu)
    kind = rng.choice(len(users.weights), number, p=users.weights)
    score = users.bt_temperature * users.utilities[kind] + rng.gumbel(size=(number, size))
    pairs = rng.choice(size, (2, number, comparisons), p=mu)
    first, second = (np.take_along_axis(score, shown, axis=1) for shown in pairs)
    winner, loser = np.where(first >= second, pairs, pairs[::-1])
    return np.bincount((winner * size + loser).ravel(), minlength=size * size)


def _one_prompt(users: BradleyTerryUsers) -> int:
    if users.utilities.ndim != 2:
        raise InputError("users must rank the responses to one prompt: give utilities of shape (T, K)")
    return users.utilities.shape[1]
