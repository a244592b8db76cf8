r"""Worst laws that only move shares of mass: conditional value at risk, and total-variation balls.

Let the atoms be ordered by their losses, and keep(s) be the measure of mass s that P has on the worst of
them, the last one in part. The laws Q with dQ/dP <= 1/level have the worst case

    Q = keep(level) / level,   E_Q l = CVaR_level(l) = inf over eta of  eta + E_P (l - eta)_+ / level,     (1)

the mean of the worst share. The laws with total variation sum |Q - P| / 2 <= rho have

    Q = keep(1 - rho) + rho (the worst atoms),   E_Q l = rho max l + (1 - rho) CVaR_{1 - rho}(l):          (2)

the share rho with the least losses is moved to the largest.

Source: textbook; CVaR is that of Rockafellar and Uryasev 2000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.checks import InputError, inside_unit
from distalign.solvers.robust.collapse import atoms_and_laws
from distalign.solvers.robust.kl_ball import with_range
from distalign.types import Array


@dataclass(frozen=True)
class ShareWorstCase:
    """A worst law, one for each vector of losses.

    Attributes:
        value: (...) the robust loss, sup of E_Q l over the ball.
        weights: (..., m) the worst law Q.
    """

    value: Array
    weights: Array


def cvar_worst_case(losses: ArrayLike, p: ArrayLike, level: float) -> ShareWorstCase:
    """The law Q that maximises E_Q l over dQ/dP <= 1/level, for many vectors of losses, by (1).

    Args:
        losses: (..., m) losses.
        p: (..., m) laws, non-negative, of sum 1; atoms of probability 0 stay at 0.
        level: share of the worst atoms that is averaged over, in (0, 1); towards 1 it is the mean.

    Raises:
        InputError: the shapes do not fit, a loss is not finite, p is no law, or the level is not in (0, 1).

    Source: textbook; Rockafellar and Uryasev 2000.

    Example: the worst quarter, and half of the next.
        >>> found = cvar_worst_case([0.0, 1.0, 4.0], [0.25, 0.5, 0.25], 0.5)
        >>> float(found.value), found.weights.tolist()
        (2.5, [0.0, 0.5, 0.5])
    """
    inside_unit("level", level, "it is the share of the worst atoms that is averaged over")
    losses, p, top, _ = with_range(losses, p)
    weights = _worst(losses, p, level) / level
    return ShareWorstCase(_mean(losses, weights, top), weights)


def total_variation_worst_case(losses: ArrayLike, p: ArrayLike, radius: float) -> ShareWorstCase:
    """The law Q that maximises E_Q l over  sum |Q - P| / 2 <= radius,  for many vectors of losses, by (2).

    Args:
        losses: (..., m) losses.
        p: (..., m) laws, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: rho, in (0, 1).

    Raises:
        InputError: the shapes do not fit, a loss is not finite, p is no law, or the radius is not in (0, 1).

    Source: textbook.

    Example: a quarter of the mass moves from the least loss to the largest.
        >>> found = total_variation_worst_case([0.0, 1.0, 4.0], [0.5, 0.25, 0.25], 0.25)
        >>> float(found.value), found.weights.tolist()
        (2.25, [0.25, 0.25, 0.5])
    """
    inside_unit("radius", radius, "it is the largest share of mass that may move")
    losses, p, top, _ = with_range(losses, p)
    worst = np.where(losses == top, p, 0)
    weights = _worst(losses, p, 1 - radius) + radius * worst / worst.sum(-1, keepdims=True)
    return ShareWorstCase(_mean(losses, weights, top), weights)


def cvar_collapse_level(v: ArrayLike, p: ArrayLike) -> float:
    """The largest level at which theta = 0 is the best answer to the ball of CVaR.

    It is the largest level for which some law Q with dQ/dP <= 1/level has E_Q v = 0: a linear program.

    Args:
        v: (m, d) feature differences of the atoms.
        p: (m,) law of the atoms; those without mass are left out.

    Raises:
        InputError: no law on these atoms has E v = 0, so no ball collapses; or v and p are no features and
            law.

    Source: ours, as `distalign.solvers.robust.chi2_collapse_radius`.

    Example: the won pair keeps a quarter of its weight, as much as the lost one has.
        >>> round(cvar_collapse_level([[1.0], [-1.0]], [0.8, 0.2]), 12)
        0.4
    """
    x, law, size = _one_law(v, p)
    rows = np.column_stack([np.eye(size), -law])  # Q <= price P, with the price last
    return 1 / _least(x, np.append(np.zeros(size), 1.0), rows, np.zeros(size))


def total_variation_collapse_radius(v: ArrayLike, p: ArrayLike) -> float:
    """The least radius at which theta = 0 is the best answer to the total-variation ball.

    It is the least total variation from P of a law Q with E_Q v = 0: a linear program.

    Args:
        v: (m, d) feature differences of the atoms.
        p: (m,) law of the atoms; those without mass are left out.

    Raises:
        InputError: no law on these atoms has E v = 0, so no ball collapses; or v and p are no features and
            law.

    Source: ours, as `distalign.solvers.robust.chi2_collapse_radius`.

    Example:
        >>> round(total_variation_collapse_radius([[1.0], [-1.0]], [0.8, 0.2]), 12)
        0.3
    """
    x, law, size = _one_law(v, p)
    rows = np.hstack([np.eye(size), -np.eye(size)])  # Q <= P + what it exceeds P by
    return _least(x, np.append(np.zeros(size), np.ones(size)), rows, law)


def _one_law(v: ArrayLike, p: ArrayLike) -> tuple[Array, Array, int]:
    """The features, the law, and the number of atoms that it gives mass to."""
    x, laws = atoms_and_laws(v, p, 1.0)
    if len(laws) != 1:
        raise InputError(f"p must be one law (m,), got {laws.shape}: take the laws one by one")
    return x[laws[0] > 0], laws[0][laws[0] > 0], int((laws[0] > 0).sum())


def _least(x: Array, price: Array, rows: Array, limits: Array) -> float:
    """min price.(q, rest) over laws q of mean E_q x = 0 with rows (q, rest) <= limits, all of it >= 0."""
    size, rest = len(x), len(price) - len(x)
    equal = np.hstack([np.vstack([x.T, np.ones(size)]), np.zeros((x.shape[1] + 1, rest))])
    solved = linprog(
        price, A_ub=rows, b_ub=limits, A_eq=equal, b_eq=np.append(np.zeros(x.shape[1]), 1.0), method="highs"
    )
    if not solved.success:
        raise InputError(
            "v must have 0 in its convex hull: else the data are separable and no ball collapses"
        )
    return float(solved.fun)


def _worst(losses: Array, p: Array, mass: float) -> Array:
    """The measure of this mass that p has on the atoms of largest loss, the last one in part."""
    order = np.argsort(-losses, -1, kind="stable")
    ordered = np.take_along_axis(p, order, -1)
    before = ordered.cumsum(-1) - ordered
    kept = np.empty_like(ordered)
    np.put_along_axis(kept, order, np.clip(mass - before, 0, ordered), -1)
    return kept


def _mean(losses: Array, weights: Array, top: Array) -> Array:
    """E_Q l, as the largest loss less what is short of it."""
    return top[..., 0] + (weights * np.where(weights > 0, losses - top, 0)).sum(-1)
