"""Win matrices that no Bradley-Terry model has: cycles, tiers of cycles, random intransitivity.

They separate rules that need a best response from rules that do not.

Source: the families are ours, chosen so that cycles decide.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from distalign.arguments import NONNEGATIVE, RNG, Numbers, checked, whole_number
from distalign.checks import InputError, nonnegative
from distalign.populations._arrays import at_least
from distalign.types import Array


@checked(responses=whole_number(3, 10_000), strength=NONNEGATIVE)
def cyclic(responses: int, strength: float) -> Array:
    """Each response beats the next (K - 1) // 2 around a circle and loses to as many before it.

    P(i, j) = sigma(strength) for (j - i) mod K in 1 .. (K - 1) // 2. Opposite responses of a circle of even
    size tie, with 1/2. Under a uniform reference all Borda scores are 1/2: there is no best response.

    Args:
        responses: K, at least 3.
        strength: log-odds of the winner in nats, at least 0.

    Returns:
        (K, K) win matrix.

    Example:
        >>> cyclic(3, 30.0).round(3).tolist()
        [[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]]
    """
    at_least("responses", responses, 3)
    nonnegative("strength", strength, "0 is indifference, 4 a win rate of 0.98")
    ahead = (np.arange(responses)[None, :] - np.arange(responses)[:, None]) % responses
    beats = (ahead >= 1) & (ahead <= (responses - 1) // 2)
    return expit(strength * (beats.astype(float) - beats.T))


@checked(tiers=whole_number(most=3_000), within=NONNEGATIVE, between=NONNEGATIVE)
def rock_paper_scissors(tiers: int, within: float = 4.0, between: float = 3.0) -> Array:
    """Tiers of three responses: a cycle inside each tier, and every tier above the next.

    The log-odds are +-`within` around the cycle of a tier and +-`between` for a response of a higher tier
    (lower index).

    Args:
        tiers: number of tiers; K = 3 tiers.
        within: log-odds inside a tier in nats, at least 0.
        between: log-odds between tiers in nats, at least 0.

    Returns:
        (K, K) win matrix.

    Example:
        >>> rock_paper_scissors(2)[0].round(3).tolist()
        [0.5, 0.982, 0.018, 0.953, 0.953, 0.953]
    """
    at_least("tiers", tiers, 1)
    nonnegative("within", within, "0 is indifference inside a tier")
    nonnegative("between", between, "0 is indifference between tiers")
    index = np.arange(3 * tiers)
    tier, place = index // 3, index % 3
    order = np.sign(tier[None, :] - tier[:, None])
    ahead = (place[None, :] - place[:, None]) % 3
    cycle = (ahead == 1).astype(float) - (ahead == 2)
    return expit(np.where(order == 0, within * cycle, between * order))


@checked(rng=RNG, responses=whole_number(2, 10_000), sd=NONNEGATIVE)
def random_intransitive(rng: np.random.Generator, responses: int, sd: float) -> Array:
    """Independent normal log-odds of standard deviation `sd` for every pair: transitive only by chance.

    Args:
        rng: numpy generator.
        responses: K, at least 2.
        sd: standard deviation of the log-odds in nats, at least 0.

    Returns:
        (K, K) win matrix.

    Example:
        >>> win = random_intransitive(np.random.default_rng(0), 5, sd=2.0)
        >>> bool(np.allclose(win + win.T, 1))
        True
    """
    at_least("responses", responses, 2)
    nonnegative("sd", sd, "0 is indifference, 8 almost deterministic")
    upper = np.triu(rng.normal(0.0, sd, (responses, responses)), 1)
    return expit(upper - upper.T)


@checked(
    rng=RNG,
    responses=whole_number(2, 10_000),
    correlation=Numbers("from 0 to 1/2", "0 is independent pairs, 1/2 is Bradley-Terry", low=0, high=0.5),
    sd=NONNEGATIVE,
)
def correlated_margins(
    rng: np.random.Generator, responses: int, correlation: float, sd: float = 1.0
) -> Array:
    """Normal log-odds of every pair, those of (x, y) and (x, z) correlated: from no order at all to a total
    one.

    The log-odds of (x, y) are  sd (sqrt(c) (g_x - g_y) + sqrt(1 - 2c) e_xy)  with independent standard
    normal g_x and e_xy = -e_yx, so their variance is sd^2. The correlation c = 0 is `random_intransitive`,
    c = 1/2 is Bradley-Terry. With c = 1/3 their signs have the law of the majorities among infinitely many
    users whose rankings are uniformly random (`impartial_culture`), by the central limit theorem.

    Args:
        rng: numpy generator.
        responses: K, at least 2.
        correlation: c, from 0 to 1/2.
        sd: standard deviation of the log-odds in nats, at least 0.

    Returns:
        (K, K) win matrix.

    Raises:
        InputError: correlation above 1/2, or a number that is out of range.

    Source: ours; the correlation 1/3 is classical.

    Example:
        >>> win = correlated_margins(np.random.default_rng(0), 4, 0.5)
        >>> bool(np.allclose(win[0, 1] * win[1, 2] * win[2, 0], win[1, 0] * win[2, 1] * win[0, 2]))
        True
    """
    at_least("responses", responses, 2)
    nonnegative("correlation", correlation, "0 is independent pairs, 1/2 is Bradley-Terry")
    if correlation > 0.5:
        raise InputError(
            f"correlation must be at most 1/2, got {correlation:g}: margins that share a response cannot "
            "have more, and 1/2 is Bradley-Terry"
        )
    nonnegative("sd", sd, "0 is indifference, 8 almost deterministic")
    quality = rng.standard_normal(responses)
    upper = np.triu(rng.standard_normal((responses, responses)), 1)
    common = np.sqrt(correlation) * (quality[:, None] - quality)
    return expit(sd * (common + np.sqrt(1 - 2 * correlation) * (upper - upper.T)))


@checked(rng=RNG, responses=whole_number(2, 10_000), users=whole_number(1, 10_000_000))
def impartial_culture(rng: np.random.Generator, responses: int, users: int) -> Array:
    """Users whose rankings are independent and uniformly random; each pair is won as often as users say.

    Args:
        rng: numpy generator.
        responses: K, at least 2.
        users: number of users, odd, so that no majority is a tie.

    Returns:
        (K, K) win matrix of shares of users.

    Raises:
        InputError: users is even.

    Source: Guilbaud 1952, the impartial culture of social choice theory.

    Example:
        >>> impartial_culture(np.random.default_rng(0), 3, 1).tolist()
        [[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]]
    """
    at_least("responses", responses, 2)
    at_least("users", users, 1)
    if users % 2 == 0:
        raise InputError(f"users must be odd, so that no majority is a tie, got {users}: add a user")
    values = rng.random((users, responses))
    win = (values[:, :, None] > values[:, None, :]).mean(0)
    np.fill_diagonal(win, 0.5)
    return win
