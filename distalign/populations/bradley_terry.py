"""Users with utilities who answer by Bradley-Terry, and the win matrix of their mixture.

Source: Bradley and Terry 1952 for one user; a mixture of such users as in arXiv 2505.23749.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from distalign.arguments import FILLED, POSITIVE, UNIT, checked
from distalign.checks import InputError, positive
from distalign.populations._arrays import Integers, at_least, probabilities
from distalign.populations.population import Population
from distalign.types import Array

# A product of two numbers of at least exp(-300) is far above the smallest normal double: no digit underflows.
_SAFE_RANGE = 300.0
_SIDE = 200  # rows and columns of a tile: a few of them stay in the cache
_TILE = _SIDE**2
_BLOCK = 2**20  # utilities that are treated at once, which bounds the memory


@checked(utilities=FILLED, weights=UNIT.each, bt_temperature=POSITIVE)
def win_matrix(utilities: Any, weights: Any, bt_temperature: float) -> Array:
    r"""The win matrix of a mixture of Bradley-Terry users.

        P(x, y) = \sum_k w_k sigma(bt_temperature (u_k(x) - u_k(y)))                        (1)

    With a = exp(bt_temperature (u - max u)) a type adds  w a_x / (a_x + a_y),  which takes K exponentials
    instead of K^2. Two types, of weights v and w, are added over one denominator,

        v a_x / (a_x + a_y) + w b_x / (b_x + b_y)
            = ((v + w) a_x b_x + v a_x b_y + w b_x a_y) / (a_x b_x + a_x b_y + b_x a_y + a_y b_y),      (2)

    whose numerator and denominator are matrix products of four columns: one division for two types. All terms
    are positive, so small probabilities keep their digits. Below the diagonal P = 1 - P^T, unless that loses
    digits. Types whose utilities range over more than 300 / bt_temperature, where a b would underflow, take
    the logistic function directly. P + P^T = 1 to rounding.

    Args:
        utilities: (T, K), one row for each type of user, or (T, S, K) for S prompts.
        weights: (T,) share of each type, sum 1.
        bt_temperature: Bradley-Terry temperature (a larger one makes answers more certain), above 0.

    Returns:
        (K, K), or (S, K, K) for S prompts.

    Raises:
        InputError: shapes disagree, weights are no law, or the temperature is not above 0.

    Example:
        >>> win_matrix([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=3.0).round(12).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    u = np.asarray(utilities, dtype=np.float64)
    if u.ndim not in (2, 3) or not np.all(np.isfinite(u)):
        raise InputError(f"utilities must be finite of shape (T, K) or (T, S, K), got {u.shape}")
    positive("bt_temperature", bt_temperature, "1 compares utilities in nats")
    w = probabilities("weights", weights, u.shape[:1])
    logits = bt_temperature * (u - u.max(-1, keepdims=True))
    logits = logits if u.ndim == 3 else logits[:, None]
    wide = logits.min((1, 2)) < -_SAFE_RANGE
    wins = _fractions(np.exp(logits[~wide]), w[~wide])
    if wide.any():
        wins += _logistic(logits[wide], w[wide])
    return wins if u.ndim == 3 else wins[0]


def _fractions(a: Array, weights: Array) -> Array:
    """The sum (1) over types for all prompts, (S, K, K) from a (T, S, K), in pairs of types by (2)."""
    if a.size > _BLOCK and len(a) > 2:
        half = len(a) // 2
        return _fractions(a[:half], weights[:half]) + _fractions(a[half:], weights[half:])
    if len(a) % 2:  # a last type of weight 0
        a, weights = np.append(a, np.ones_like(a[:1]), 0), np.append(weights, 0.0)
    s, k = a.shape[1:]
    (v, w), (a, b) = weights.reshape(-1, 2).T, a.reshape(-1, 2, s, k).swapaxes(0, 1)
    one = np.ones_like(a)
    right = np.stack([one, b, a, a * b], -2)
    below = np.stack([a * b, a, b, one], -1)
    above = below * np.stack([v + w, v, w, 0 * v], -1)[:, None, None]
    out, total, side = np.zeros((s, k, k)), weights.sum(), min(k, _SIDE)
    prompts = max(1, min(s, _TILE // side**2))
    pairs = max(1, _TILE // (prompts * side**2))

    def tile(p: slice, rows: slice, columns: slice) -> Array:
        """These rows and columns for these prompts."""
        found = np.zeros_like(out[p, rows, columns])
        room = np.empty((2, min(pairs, len(v)), *found.shape))
        for i in range(0, len(v), pairs):
            y = right[i : i + pairs, p, :, columns]
            won = np.matmul(above[i : i + pairs, p, rows], y, out=room[0, : len(y)])
            won /= np.matmul(below[i : i + pairs, p, rows], y, out=room[1, : len(y)])
            found += won[0] if pairs == 1 else won.sum(0)
        return found

    for first in range(0, s, prompts):
        p = slice(first, first + prompts)
        for i in range(0, k, side):
            for j in range(i, k, side):
                rows, columns = slice(i, i + side), slice(j, j + side)
                found = out[p, rows, columns] = tile(p, rows, columns)
                if i < j and found.max() <= 0.99 * total:
                    np.subtract(total, found.swapaxes(1, 2), out=out[p, columns, rows])
                elif i < j:
                    out[p, columns, rows] = tile(p, columns, rows)
    return out


def _logistic(logits: Array, weights: Array) -> Array:
    """The sum (1) over types for all prompts, (S, K, K) from logits (T, S, K), by the logistic function."""
    t, s, k = logits.shape
    out = np.zeros((s, k, k))
    users, rows = max(1, _TILE // out.size), max(1, min(k, _TILE // (s * k)))
    for i in range(0, t, users):
        z, w = logits[i : i + users, :, :, None], weights[i : i + users, None, None, None]
        for j in range(0, k, rows):
            tile = np.s_[:, :, j : j + rows]
            out[:, j : j + rows] += (w * expit(z[tile] - z.swapaxes(2, 3))).sum(0)
    return out


@checked(utilities=FILLED, weights=UNIT.each, bt_temperature=POSITIVE)
@dataclass(frozen=True, eq=False)
class BradleyTerryUsers:
    """Types of users with utilities, who answer comparisons by Bradley-Terry.

    A user of type k prefers x to y with probability sigma(bt_temperature (u_k(x) - u_k(y))).

    Attributes:
        utilities: (T, K) utility of each response to each type, or (T, S, K) for S prompts.
        weights: (T,) share of each type in the population.
        bt_temperature: Bradley-Terry temperature, above 0, common to all users.

    Source: arXiv 2505.23749, section 2 (the model).

    Example:
        >>> users = BradleyTerryUsers([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]], [0.25, 0.75], bt_temperature=2.0)
        >>> users.average_utility.tolist()
        [0.25, 0.75, 0.5]
        >>> users.population(reference=[0.2, 0.3, 0.5]).win.shape
        (1, 3, 3)
    """

    utilities: Array
    weights: Array
    bt_temperature: float

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        u = np.asarray(self.utilities, dtype=np.float64)
        if u.ndim not in (2, 3) or not np.all(np.isfinite(u)):
            raise InputError(f"utilities must be finite of shape (T, K) or (T, S, K), got {u.shape}")
        positive("bt_temperature", self.bt_temperature, "1 compares utilities in nats")
        object.__setattr__(self, "utilities", u)
        object.__setattr__(self, "weights", probabilities("weights", self.weights, u.shape[:1]))

    @property
    def average_utility(self) -> Array:
        """(K,) or (S, K) utility averaged over users: the utilitarian welfare of each response."""
        return np.tensordot(self.weights, self.utilities, axes=1)

    @property
    def win(self) -> Array:
        """(K, K) or (S, K, K) win matrix of the whole population."""
        return win_matrix(self.utilities, self.weights, self.bt_temperature)

    def population(self, reference: Any, prompts: Any = None) -> Population:
        """Comparisons of responses drawn from `reference`, each answered by a fresh user."""
        return Population(self.win, reference, prompts)

    def sample_wins(
        self, users: int, comparisons: int, pair_law: Any, rng: np.random.Generator, *, replicates: int = 1
    ) -> Integers:
        """Count wins when each of `users` fresh users answers `comparisons` questions.

        A user's type is drawn once and shared by all of that user's answers, which are otherwise independent.
        The two responses of a question are drawn independently from `pair_law`; a response drawn against
        itself counts as a win of its own, so the counts sum to users * comparisons. Given the number N_k of
        users of type k, the wins of that type are one multinomial draw of N_k * comparisons from 2 mu_x mu_y
        sigma(...). The draw is exact, at a cost that does not grow with the sizes.

        Args:
            users: number of users n.
            comparisons: questions for each user d.
            pair_law: (K,) law mu of each response shown.
            rng: numpy generator.
            replicates: independent repetitions R.

        Returns:
            (R, K, K) integer, entry (x, y) = how often x won against y; its mean is `users * comparisons`
            times 2 mu_x mu_y P(x, y).

        Raises:
            InputError: the users answer more than one prompt, or a size is too small.

        Example:
            >>> users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=2.0)
            >>> users.sample_wins(100, 3, [0.5, 0.5], np.random.default_rng(0)).sum()
            np.int64(300)
        """
        if self.utilities.ndim != 2:
            raise InputError("sample_wins asks about one prompt: give utilities of shape (T, K)")
        at_least("users", users, 1)
        at_least("comparisons", comparisons, 1)
        at_least("replicates", replicates, 1)
        k = self.utilities.shape[1]
        mu = probabilities("pair_law", pair_law, (k,))
        types = rng.multinomial(users, self.weights, size=replicates)
        wins = np.zeros((replicates, k * k), dtype=np.int64)
        for kind, utilities in enumerate(self.utilities):
            joint = (2 * np.outer(mu, mu) * win_matrix(utilities[None], [1.0], self.bt_temperature)).ravel()
            support = np.flatnonzero(joint)
            wins[:, support] += rng.multinomial(
                types[:, kind] * comparisons, joint[support] / joint[support].sum()
            )
        return wins.reshape(replicates, k, k)
