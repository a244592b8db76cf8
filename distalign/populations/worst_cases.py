"""Populations on which a rule is as bad as it can be, with the distortion they force in closed form.

s(t) = tanh(t/2)/2 and b is the Bradley-Terry temperature. Both families are extreme in the same way: almost
everybody is almost indifferent, and a few users of large utility are outvoted, because the sigmoid counts
many small differences for more than a large one. The limits are reached as epsilon goes to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distalign.arguments import FLAG, INSIDE_UNIT, POSITIVE, checked, whole_number
from distalign.checks import InputError, inside_unit, positive
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array


@dataclass(frozen=True)
class WorstCase:
    """A population and what it forces.

    Attributes:
        users: its types.
        comparison: (m,) distribution mu of the alternatives compared.
        distortion: in closed form, of the rules the family is made for.
    """

    users: BradleyTerryUsers
    comparison: Array
    distortion: float


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    alternatives=whole_number(2, 1e6),
    epsilon=INSIDE_UNIT.meaning("the family reaches its limit as epsilon goes to 0; 1e-3 is a good start"),
    strict=FLAG,
)
def universal_worst_case(
    bt_temperature: float, alternatives: int = 4, epsilon: float = 1e-3, *, strict: bool = True
) -> WorstCase:
    """A population on which no rule can do better than C(b) in the limit (family F1).

    A share a = s(b eps)/(s(b) + s(b eps)) of the users wants alternative 0 only (utility 1); the others give
    0 to it and xi eps to every other one. With xi = 1 + eps (`strict`) alternative 0 loses to all others by a
    little, so any rule that avoids a Condorcet loser has distortion

        a/(xi eps (1 - a)) = s(b eps)/(xi eps s(b)) -> C(b).

    With xi = 1 every win probability is 1/2, and the closed form is that of the uniform lottery,

        a/(a/m + (1 - 1/m) eps (1 - a)).

    Args:
        bt_temperature: b, above 0.
        alternatives: m, at least 2.
        epsilon: in (0, 1); the distortion differs from C(b) by about a share epsilon.
        strict: xi = 1 + epsilon or 1.

    Raises:
        InputError: an argument is out of range.

    Source: arXiv 2505.23749, Appendix E.3 (Theorem 3).

    Example:
        >>> case = universal_worst_case(5.0)
        >>> round(case.distortion, 10), case.users.weights.round(8).tolist()
        (2.5313816139, [0.00252751, 0.99747249])
    """
    _check(bt_temperature, epsilon)
    if alternatives < 2:
        raise InputError(f"alternatives must be at least 2, got {alternatives}")
    share = _s(bt_temperature * epsilon) / (_s(bt_temperature) + _s(bt_temperature * epsilon))
    utility = epsilon * (1 + epsilon) if strict else epsilon
    utilities = np.zeros((2, alternatives))
    utilities[0, 0], utilities[1, 1:] = 1, utility
    mass = 0 if strict else 1 / alternatives
    special, ordinary = share, utility * (1 - share)
    distortion = max(special, ordinary) / (mass * special + (1 - mass) * ordinary)
    users = BradleyTerryUsers(utilities, np.array([share, 1 - share]), bt_temperature)
    return WorstCase(users, np.full(alternatives, 1 / alternatives), distortion)


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    epsilon=INSIDE_UNIT.meaning("the family reaches its limit as epsilon goes to 0; 1e-3 is a good start"),
)
def borda_worst_case(bt_temperature: float, epsilon: float = 1e-3) -> WorstCase:
    """A population on which Borda, and RLHF without a KL constraint, reach Bd(b) in the limit (family F2).

    There are alternatives (0, 1, 2) and three types of users. With a = s(b eps)/(s(b) + s(b eps)) and g =
    (2/b) artanh(sqrt(1 - 4 s(b)/b)),

        a share a                has utilities (1 - g, 1, 0),
        a share a s(b g)/s(b)    has utilities (1, 0, eps),
        the rest                 has utilities (0, 0, eps + eps^2).

    Alternative 0 ties with 1, which loses to 2 by a little. Comparisons are nearly all against 1, so 2 wins
    although its average utility is smallest. The distortion is AvgUtil(0)/AvgUtil(2).

    Args:
        bt_temperature: b, above 0.
        epsilon: in (0, 1); the distortion differs from Bd(b) by about a share epsilon.

    Raises:
        InputError: an argument is out of range.

    Source: arXiv 2505.23749, Appendix E.2 (Theorem 12), with log(1 + b)/b replaced by the exact maximiser g
        (ours).

    Example:
        >>> case = borda_worst_case(10.0)
        >>> round(case.distortion, 10), (case.users.win @ case.comparison).argmax().item()
        (8.0215830108, 2)
    """
    _check(bt_temperature, epsilon)
    g = float(np.arctanh(np.sqrt(1 - 4 * _s(bt_temperature) / bt_temperature)) * 2 / bt_temperature)
    share = _s(bt_temperature * epsilon) / (_s(bt_temperature) + _s(bt_temperature * epsilon))
    second = share * _s(bt_temperature * g) / _s(bt_temperature)
    weights = np.array([share, second, 1 - share - second])
    utilities = np.array([[1 - g, 1, 0], [1, 0, epsilon], [0, 0, epsilon + epsilon**2]])
    best, worst = weights @ utilities[:, 0], weights @ utilities[:, 2]
    rare = epsilon**3 / 100  # far below the margin of order epsilon^2 by which 2 beats 1
    comparison = np.array([rare, 1 - 2 * rare, rare])
    return WorstCase(
        BradleyTerryUsers(utilities, weights, bt_temperature), comparison, float(max(best / worst, 1.0))
    )


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    epsilon=INSIDE_UNIT.meaning("the family reaches its limit as epsilon goes to 0; 1e-3 is a good start"),
    clones=whole_number(1, 1e6),
)
def copeland_worst_case(bt_temperature: float, epsilon: float = 1e-3, clones: int = 2) -> WorstCase:
    """A population on which Copeland loses Bd(b) in the limit: a chain of two narrow victories.

    The three types of `borda_worst_case`, whose alternative 1 comes in several clones: the last alternative
    beats every clone by a little, and every clone beats alternative 0 by a little, which is by far the best
    and beats the last. With one clone that is a cycle of three; with two or more the last alternative has
    most victories.

    Args:
        bt_temperature: b, above 0.
        epsilon: in (0, 1); the distortion differs from Bd(b) by about a share epsilon while b epsilon is
            small.
        clones: of the alternative in the middle.

    Raises:
        InputError: an argument is out of range.

    Source: ours; that Copeland loses nearly b is in the abstract of Alipour and Goyal, arXiv 2602.11152,
        whose construction was not seen.

    Example:
        >>> case = copeland_worst_case(10.0)
        >>> round(case.distortion, 3), (case.users.win > 0.5).sum(1).tolist()
        (8.017, [1, 1, 1, 2])
    """
    case = borda_worst_case(bt_temperature, epsilon)
    share, second, _ = case.users.weights
    second *= 1 - epsilon  # at its full weight alternative 0 ties with those in the middle
    weights = np.array([share, second, 1 - share - second])
    utilities = np.repeat(case.users.utilities, [1, clones, 1], axis=1)
    best, worst = weights @ utilities[:, 0], weights @ utilities[:, -1]
    users = BradleyTerryUsers(utilities, weights, bt_temperature)
    return WorstCase(users, np.full(clones + 2, 1 / (clones + 2)), float(max(best / worst, 1.0)))


def _s(t: float) -> float:
    return float(np.tanh(t / 2) / 2)


def _check(bt_temperature: float, epsilon: float) -> None:
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    inside_unit("epsilon", epsilon, "the family reaches its limit as epsilon goes to 0; 1e-3 is a good start")
