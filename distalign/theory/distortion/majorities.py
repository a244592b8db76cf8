r"""How often random majorities cycle, have a Condorcet winner, and how much a maximal lottery mixes.

The margins of the pairs (x, y) and (x, z) are normal with correlation c, as
`distalign.populations.correlated_margins` draws them: M_xy = sqrt(c) (g_x - g_y) + sqrt(1 - 2c) e_xy. Given
g_x = g the margins of x against all others are independent of each other once g_y is part of their noise, so
with m responses

    P(x beats all others) = E Phi(sqrt(c / (1 - c)) g)^(m - 1).                                            (1)

Source: (1) and the three-response formulas are classical for c = 1/3 (Guilbaud 1952; Niemi and Weisberg
1968); other c, c = 0 and the support of the lottery are elementary.
"""

from __future__ import annotations

from functools import cache
from math import comb, lgamma, log

import numpy as np
from scipy.special import ndtr

from distalign.arguments import Numbers, checked, whole_number
from distalign.checks import InputError, at_least_0, whole

_RESPONSES = "it counts the responses that are compared"
_MOST_USERS = 201
_CORRELATION = Numbers("from 0 to 1/2", "0 is independent pairs, 1/2 is Bradley-Terry", low=0, high=0.5)
_COUNT = whole_number(2, 10_000)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(200)


@checked(responses=_COUNT, correlation=_CORRELATION)
def condorcet_winner_probability(responses: int, correlation: float) -> float:
    """The probability that one response beats every other by a majority: m times equation (1).

    Args:
        responses: m, at least 2.
        correlation: c of two margins that share a response, from 0 to 1/2.

    Raises:
        InputError: a number is out of range.

    Source: Niemi and Weisberg 1968 for c = 1/3; at most one response can beat all others, hence the factor m.

    Example:
        >>> [round(condorcet_winner_probability(3, c), 6) for c in (0, 1 / 3, 0.5)]
        [0.75, 0.91226, 1.0]
    """
    whole("responses", responses, 2, _RESPONSES)
    _checked(correlation)
    slope = np.sqrt(correlation / (1 - correlation))
    values = ndtr(slope * _NODES) ** (responses - 1)
    return float(responses * (_WEIGHTS @ values) / _WEIGHTS.sum())


@checked(correlation=_CORRELATION)
def three_cycle_probability(correlation: float) -> float:
    """The probability that three responses form a cycle of majorities:  1/4 - 3 arcsin(c) / (2 pi).

    Args:
        correlation: c, from 0 to 1/2.

    Raises:
        InputError: correlation out of range.

    Source: Guilbaud 1952 for c = 1/3; twice the probability that three normal variables of correlations -c
        are all positive.

    Example:
        >>> [abs(round(three_cycle_probability(c), 5)) for c in (0, 1 / 3, 0.5)]
        [0.25, 0.08774, 0.0]
    """
    _checked(correlation)
    return float(0.25 - 1.5 * np.arcsin(correlation) / np.pi)


@checked(users=whole_number(1, _MOST_USERS))
def three_cycle_probability_of_users(users: int) -> float:
    """The probability of a cycle among three responses and an odd number of users with random rankings.

    The numbers of users for x over y, y over z and z over x are followed from user to user: each of the six
    rankings adds 1 to one or to two of them.

    Args:
        users: odd, from 1 to 201.

    Raises:
        InputError: users is even, or above 201.

    Source: the impartial culture, Guilbaud 1952; by dynamic programming.

    Example:
        >>> three_cycle_probability_of_users(1), round(216 * three_cycle_probability_of_users(3), 9)
        (0.0, 12.0)
    """
    whole("users", users, 1, "it counts the users of the crowd")
    if users % 2 == 0 or users > _MOST_USERS:
        raise InputError(
            f"users must be odd and at most {_MOST_USERS}, got {users}: an even number has ties, and "
            "three_cycle_probability(1/3) is close for more users"
        )
    return _three_cycles(users)


@cache
def _three_cycles(users: int) -> float:
    law = np.zeros((users + 1,) * 3)
    law[0, 0, 0] = 1
    for _ in range(users):
        steps = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))
        law = sum(np.roll(law, step, (0, 1, 2)) for step in steps) / 6  # pyright: ignore[reportAssignmentType]
    majority = users // 2 + 1
    return float(2 * law[majority:, majority:, majority:].sum())  # pyright: ignore[reportIndexIssue]


@checked(responses=_COUNT)
def cycle_probability(responses: int) -> float:
    """The probability of a cycle of majorities where all pairs are independent:  1 - m! / 2^(m (m - 1) / 2).

    All 2^(m (m - 1) / 2) tournaments are equally likely, and those without a cycle are the m! total orders.

    Args:
        responses: m, at least 2.

    Raises:
        InputError: responses is no whole number of at least 2.

    Source: textbook.

    Example:
        >>> round(cycle_probability(3), 9), round(cycle_probability(4), 9)
        (0.25, 0.625)
    """
    whole("responses", responses, 2, _RESPONSES)
    return -float(np.expm1(lgamma(responses + 1) - comb(responses, 2) * log(2)))


@checked(responses=whole_number(1, 10_000), support=whole_number(1, 10_000))
def support_probability(responses: int, support: int) -> float:
    """The probability that a maximal lottery mixes k responses:  C(m, k) 2^(1 - m) for odd k, else 0.

    All pairs are independent.

    Proof. An antisymmetric matrix M of odd order has a kernel vector, and none generically if the order is
    even, so k is odd. The lottery has the support S if and only if the kernel vector v of M on S has one sign
    and (M v)_y < 0 for every y outside of S. If D is a diagonal matrix of signs, D M D has the law of M, its
    kernel vector is D v, and the signs of v, up to a common one, and of (M v)_y become any of 2^(m - 1)
    patterns, all equally likely. One of them is asked for.

    Args:
        responses: m, at least 1.
        support: k.

    Source: F. Brandl, The distribution of optimal strategies in symmetric zero-sum games, Games and Economic
        Behavior 104 (2017), determines it under general conditions (abstract seen); the proof here is ours.

    Raises:
        InputError: responses or support is no whole number of at least 1.

    Example:
        >>> [round(support_probability(3, k), 9) for k in (1, 2, 3)]
        [0.75, 0.0, 0.25]
    """
    whole("responses", responses, 1, _RESPONSES)
    whole("support", support, 1, "it counts the responses that the lottery mixes")
    if support > responses or support % 2 == 0:
        return 0.0
    log_count = lgamma(responses + 1) - lgamma(support + 1) - lgamma(responses - support + 1)
    return float(np.exp(log_count - (responses - 1) * log(2)))


def _checked(correlation: float) -> None:
    at_least_0("correlation", correlation, "0 is independent pairs, 1/2 is Bradley-Terry")
    if correlation > 0.5:
        raise InputError(
            f"correlation must be at most 1/2, got {correlation:g}: 0 is independent pairs, 1/2 is "
            "Bradley-Terry"
        )
