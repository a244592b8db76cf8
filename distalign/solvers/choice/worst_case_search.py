r"""The population on which a rule does worst, as a semi-infinite linear program over the types of its users.

A population is a measure w on utility vectors u in [0, 1]^m, its types. That a rule returns a given policy is
a set of linear inequalities in w, E_w g_x(u) >= 0 with g bounded, and so is a comparison of average
utilities. The worst distortion is therefore a linear program with one variable for each type,

    maximise  E_w[u(best)]   subject to   E_w[u . policy] = 1,   E_w[g_x(u)] >= 0 for every x,   w >= 0    (1)

(the scale of w is free, because distortion is a ratio). Its dual has one variable for each constraint of (1)
and one constraint for each type, so infinitely many:

    minimise  t   subject to   u(best) + sum_x lambda_x g_x(u) <= t u . policy  for every type u,
    lambda >= 0.                                                                                           (2)

A solution of (2) certifies that no population does worse. (1) is solved by column generation. It is solved on
a coarse grid of types, which gives multipliers (t, lambda); the types that violate (2) most,

    excess(u) = u(best) + sum_x lambda_x g_x(u) - t u . policy,                                            (3)

are found on a fine grid and around the types of the solution, and added; and so on, with ever smaller
distances around the solution, until no excess is left. Each column is divided by the largest utility of its
type, because the worst types are nearly indifferent and have utilities of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.arguments import INSIDE_UNIT, checked, whole_number
from distalign.checks import InputError, inside_unit, laws, positive, whole
from distalign.types import Array

_CHECKED = 100_000  # types of the fine grid on which the dual is priced


class Unsolved(InputError, ArithmeticError):
    """The linear program is beyond the digits of its solver."""


@dataclass(frozen=True, eq=False)
class WorstPopulation:
    """The population found, and the proof that none is worse on the types that were examined.

    Attributes:
        distortion: average utility of the best alternative over that of the rule's policy.
        utilities: (T, m) types of positive weight, T at most m + 1.
        weights: (T,) their shares, sum 1.
        multipliers: (m,) dual multipliers lambda of the rule's inequalities, with t = `distortion`.
        violation: largest  u(best) + lambda . g(u) - t u . policy  over the types examined, as a share of
            max u; at most 0 up to rounding where the search is complete.
    """

    distortion: float
    utilities: Array
    weights: Array
    multipliers: Array
    violation: float


def borda_worst_population(
    bt_temperature: float, comparison: ArrayLike, *, best: int = 0, winner: int = -1, epsilon: float = 1e-4
) -> WorstPopulation:
    r"""The worst population for the Borda rule among those where `winner` has the highest score (ties in its
    favour).

    g_x(u) = sum_y mu(y) (s(b (u(winner) - u(y))) - s(b (u(x) - u(y)))),  s(t) = tanh(t/2)/2.

    Args:
        bt_temperature: b, above 0.
        comparison: (m,) distribution mu; the worst one is a point mass on a third alternative.
        best: the alternative of highest average utility.
        winner: the alternative that Borda elects.
        epsilon: smallest utility above 0 on the grids; the search goes below it. The worst populations are
            nearly indifferent: the supremum is approached as utilities go to 0.

    Returns:
        The population; its distortion is at most the supremum over all populations, Bd(b), up to the solver's
        1e-9.

    Raises:
        InputError: mu is no distribution over 2 to 4 alternatives, or a temperature or epsilon out of range.

    Source: ours; the definitions are those of Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> found = borda_worst_population(10.0, [0.0, 1.0, 0.0])
        >>> round(found.distortion, 2), bool(found.violation < 1e-6)
        (8.03, True)
    """
    mu = _law("comparison", comparison)
    _index("best", best, len(mu))
    _index("winner", winner, len(mu))

    def inequalities(u: Array) -> Array:
        scores = np.tanh(bt_temperature / 2 * (u[:, :, None] - u[:, None, :])) @ mu / 2
        return scores[:, [winner]] - scores

    return _search(bt_temperature, np.eye(len(mu))[winner], best, inequalities, epsilon)


def lottery_worst_population(
    bt_temperature: float, lottery: ArrayLike, *, best: int = 0, epsilon: float = 1e-4
) -> WorstPopulation:
    r"""The worst population among those where the given lottery is a maximal one (no alternative beats it).

    g_y(u) = sum_x pi(x) s(b (u(x) - u(y))),  s(t) = tanh(t/2)/2. The supremum is C(b), for pure lotteries at
    least.

    Args:
        bt_temperature: b, above 0.
        lottery: (m,) the maximal lottery pi.
        best: the alternative of highest average utility.
        epsilon: as for `borda_worst_population`.

    Raises:
        InputError: pi is no distribution over 2 to 4 alternatives, or a temperature or epsilon out of range.

    Source: ours; the rule and the bound are those of Gölz et al., arXiv 2505.23749, Section 2 and Corollary
        4.

    Example:
        >>> round(lottery_worst_population(5.0, [0.0, 1.0]).distortion, 6)
        2.533918
    """
    pi = _law("lottery", lottery)
    _index("best", best, len(pi))

    def inequalities(u: Array) -> Array:
        return np.einsum("x,nxy->ny", pi, np.tanh(bt_temperature / 2 * (u[:, :, None] - u[:, None, :]))) / 2

    return _search(bt_temperature, pi, best, inequalities, epsilon)


def _few(alternatives: int, levels: int) -> str:
    """A relation: the grid fits into memory."""
    size = (levels + 2.0) ** alternatives * alternatives
    return (
        ""
        if size <= 1e8
        else f"levels ** alternatives is too large, about {size:g} numbers: take fewer levels"
    )


@checked(
    _few,
    alternatives=whole_number(1, 100),
    levels=whole_number(0, 1e6),
    epsilon=INSIDE_UNIT.meaning("it is the smallest utility above 0"),
)
def type_grid(alternatives: int, levels: int, epsilon: float) -> Array:
    """All utility vectors whose entries are 0, epsilon, 2 epsilon or one of `levels` equal steps of [0, 1].

    The zero vector is left out.

    Args:
        alternatives: m.
        levels: number of equally spaced utilities from 0 to 1.
        epsilon: smallest utility above 0.

    Returns:
        (N, m) types.

    Raises:
        InputError: an argument is out of range, or there are too many types.

    Source: ours.

    Example: the utilities 0, 0.1, 0.2, 0.5 and 1.
        >>> len(type_grid(2, 3, 0.1))
        24
    """
    values = np.unique(np.concatenate([[0, epsilon, 2 * epsilon], np.linspace(0, 1, levels)]))
    return np.array(list(product(values, repeat=alternatives)))[1:]


def _search(
    bt_temperature: float, policy: Array, best: int, kept: Callable[[Array], Array], epsilon: float
) -> WorstPopulation:
    """Column generation: solve (1) on a coarse grid, add the types of largest excess (3), and repeat.

    Types are sought on a fine grid and around those of the solution. `kept` returns the inequalities g (N, m)
    of types (N, m): the rule keeps its policy where their means are not negative.
    """
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    inside_unit("epsilon", epsilon, "1e-4 comes within 0.1 % of the supremum")

    def columns(u: Array) -> Array:
        """Objective, normalisation and inequalities of each type, scaled to a largest utility of 1."""
        return np.column_stack([u[:, best], u @ policy, kept(u)]) / u.max(1, keepdims=True)

    size, step = len(policy), 0.1
    types, fine = type_grid(size, 5, epsilon), type_grid(size, int(_CHECKED ** (1 / size)) - 3, epsilon)
    program, priced = columns(types), columns(fine)
    while True:
        weights, value, multipliers = _solve(program)  # (1), and the multipliers (2)
        near = _around(types[weights > 0], step)
        looked, offered = np.concatenate([fine, near]), np.concatenate([priced, columns(near)])
        # The excess (3) of each type.
        excess = offered @ np.concatenate([[1, -value], multipliers])
        if (excess.max() <= 1e-9 and step < 1e-6) or step < 1e-15:
            found = weights > 0
            shares = weights[found] / types[found].max(1)
            return WorstPopulation(
                value, types[found], shares / shares.sum(), multipliers, float(excess.max())
            )
        worst = np.argsort(-excess)[:200]
        added = worst[excess[worst] > 1e-10]
        types, program = np.concatenate([types, looked[added]]), np.concatenate([program, offered[added]])
        step /= 2


def _solve(columns: Array) -> tuple[Array, float, Array]:
    """Weights of the (scaled) types, value and multipliers of the program."""
    program = linprog(
        -columns[:, 0],
        A_ub=-columns[:, 2:].T,
        b_ub=np.zeros(columns.shape[1] - 2),
        A_eq=columns[:, 1][None],
        b_eq=[1.0],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if program.status != 0:
        raise Unsolved(
            f"the search for a worst population failed ({program.message}): take a larger epsilon, or "
            "another bt_temperature"
        )
    return np.maximum(program.x, 0), float(-program.fun), -program.ineqlin.marginals


def _around(types: Array, step: float) -> Array:
    """The types and their neighbours at distance `step` in every combination of coordinates, in the cube."""
    moves = step * np.array(list(product((-1, 0, 1), repeat=types.shape[1])))
    near = np.clip(types[:, None] + moves, 0, 1).reshape(-1, types.shape[1])
    return near[near.max(1) > 0]


def _index(name: str, value: int, size: int) -> None:
    """Raise unless the argument names one of `size` alternatives, from 0 or, below it, from the end."""
    whole(name, value, -size, f"it is the number of an alternative, below {size}")
    if not value < size:
        raise InputError(f"{name} must be the number of an alternative, below {size}, got {value!r}")


def _law(name: str, value: ArrayLike) -> Array:
    """The argument `name` as a distribution over two to four alternatives."""
    sentence = (
        f"{name} must be a distribution over two to four alternatives: the grid of types grows as a power of "
        "their number, so leave some out"
    )
    p = laws(name, value, "(m,)", sentence=sentence)
    if not 2 <= len(p) <= 4:
        raise InputError(sentence)
    return p / p.sum()
