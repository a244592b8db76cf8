"""The worst population of a rule on a given list of user types, as the dual linear program in cvxpy."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import LAW, NONNEGATIVE, POSITIVE, SMALLEST, checked, whole_number
from distalign.checks import InputError
from distalign.types import Array

_TYPES = replace(
    NONNEGATIVE,
    remedy="give utilities, of which each type has one above 0",
    shape="T m",
    also=lambda types: "" if (types.max(1) >= SMALLEST).all() else "a type that wants nothing",
)


def _among(types: Array, best: int) -> str:
    return _index("best", best, len(types[0]))


def _winner(types: Array, winner: int) -> str:
    return _index("winner", winner, len(types[0]))


def _index(name: str, value: int, alternatives: int) -> str:
    fits = value < alternatives
    return "" if fits else f"{name} must be one of {alternatives} alternatives, numbered from 0, got {value}"


@checked(
    _among,
    _winner,
    bt_temperature=POSITIVE.solvable,
    comparison=LAW.of("m"),
    types=_TYPES,
    best=whole_number(0),
    winner=whole_number(0),
)
def borda_bound(
    bt_temperature: float, comparison: ArrayLike, types: ArrayLike, best: int, winner: int
) -> tuple[float, Array]:
    r"""An upper bound of Borda's distortion over populations of the given types where it elects `winner`.

    The program is  min t  s.t.  u(best) + sum_x lambda_x sum_y mu(y) (sigma(b(u(winner) - u(y))) -
    sigma(b(u(x) - u(y)))) <= t u(winner) for every type u, lambda >= 0.

    Args:
        bt_temperature: b.
        comparison: (m,) mu.
        types: (T, m) utility vectors.
        best, winner: alternatives.

    Returns:
        (t, lambda).

    Source: ours; linear programming duality.

    Example:
        >>> round(borda_bound(5.0, [0.5, 0.5], [[1.0, 0.0], [0.0, 0.01]], best=0, winner=1)[0], 2)
        2.53
    """
    mu, u = np.asarray(comparison, float), np.asarray(types, float)
    wins = 1 / (1 + np.exp(-bt_temperature * (u[:, :, None] - u[:, None, :])))
    scores = np.einsum("y,txy->tx", mu, wins)
    return _bound(u, u[:, winner], u[:, best], scores[:, [winner]] - scores)


@checked(_among, bt_temperature=POSITIVE.solvable, lottery=LAW.of("m"), types=_TYPES, best=whole_number(0))
def lottery_bound(
    bt_temperature: float, lottery: ArrayLike, types: ArrayLike, best: int
) -> tuple[float, Array]:
    r"""An upper bound of a lottery's distortion over populations of the given types where it is maximal.

    The inequalities are those of  g_y(u) = sum_x pi(x) sigma(b(u(x) - u(y))) - 1/2.

    Source: ours; linear programming duality.

    Example:
        >>> round(lottery_bound(5.0, [0.0, 1.0], [[1.0, 0.0], [0.0, 0.01]], best=0)[0], 2)
        2.53
    """
    pi, u = np.asarray(lottery, float), np.asarray(types, float)
    wins = 1 / (1 + np.exp(-bt_temperature * (u[:, :, None] - u[:, None, :])))
    return _bound(u, u @ pi, u[:, best], np.einsum("x,txy->ty", pi, wins) - 0.5)


def _bound(types: Array, achieved: Array, wanted: Array, inequalities: Array) -> tuple[float, Array]:
    """The dual program: the least t with  wanted + inequalities @ lambda <= t achieved  for every type."""
    top = types.max(1)
    t, multipliers = cp.Variable(), cp.Variable(inequalities.shape[1], nonneg=True)
    certificate = wanted / top + (inequalities / top[:, None]) @ multipliers <= t * achieved / top
    cp.Problem(cp.Minimize(t), [certificate]).solve(solver=cp.HIGHS)
    if t.value is None:
        raise InputError(
            "no multipliers bound the distortion of these types: give each a utility of the winner above 0"
        )
    return float(np.asarray(t.value)), np.asarray(multipliers.value)
