"""The worst law of a Wasserstein ball on a finite space for given losses, many problems at once.

Source: the duality of arXiv 2502.01930, its Lemma 1; the search is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, moderate, reals, together
from distalign.solvers.robust.wasserstein_fit import checked_ball
from distalign.types import Array

_Indices = NDArray[np.intp]

_ROUNDS = 200
_TILE = 2**18  # scores looked at at once: they stay in the cache


@dataclass(frozen=True)
class WassersteinWorstCase:
    """The worst law of a Wasserstein ball, one for each vector of losses.

    Attributes:
        value: (...) the dual function eta radius**order + E_P max_j (l_j - eta c_ij) at the multiplier: an
            upper bound.
        primal: (...) E_Q l: a lower bound, because Q lies in the ball.
        weights: (..., m) the law Q.
        multiplier: (...) eta, the price of a unit of cost; 0 where the budget carries all mass to the largest
            loss.
        gap: (...) value - primal.
    """

    value: Array
    primal: Array
    weights: Array
    multiplier: Array
    gap: Array


def wasserstein_worst_case(
    losses: ArrayLike, p: ArrayLike, cost: ArrayLike, *, radius: float, order: float = 1.0
) -> WassersteinWorstCase:
    r"""The law Q that maximises E_Q l over W_order(Q, P) <= radius, for many vectors of losses and laws.

    The dual  min over eta >= 0 of  eta radius^order + sum_i p_i max_j (l_j - eta c_ij)  is convex and
    piecewise linear in one variable. Two tangents, one of each sign of slope, are two transport plans; they
    are replaced by the plan at their crossing until no better one exists. The mixture of both that spends the
    budget exactly is the worst law.

    Args:
        losses: (..., m) losses.
        p: (..., m) laws, non-negative, of sum 1.
        cost: (m, m) d**order between atoms, zero on the diagonal and symmetric.
        radius: radius, in units of d, above 0.
        order: order of the distance, at least 1.

    Raises:
        InputError: the shapes do not fit, `cost` is no power of a metric, or the ball is empty.

    Source: arXiv 2502.01930, its lemma on Wasserstein duality (Gao and Kleywegt), on a finite space.

    Example:
        >>> worst = wasserstein_worst_case([0.0, 1.0], [0.5, 0.5], [[0.0, 2.0], [2.0, 0.0]], radius=0.1)
        >>> worst.weights.round(12).tolist(), worst.value.round(12).item(), worst.multiplier.item()
        ([0.45, 0.55], 0.55, 0.5)
    """
    losses = reals("losses", losses, "(..., m)", "the robust loss of an infinite loss is infinite")
    cost = checked_ball(p, cost, radius, order)
    losses, p = together(losses=losses, p=np.asarray(p, float))
    if losses.shape[-1] != len(cost):
        raise InputError(f"losses must hold one number for each of the {len(cost)} atoms, got {losses.shape}")
    moderate("losses", losses, "take other units")
    l, law, budget = losses.reshape(-1, losses.shape[-1]), p.reshape(-1, p.shape[-1]), radius**order
    low, high = _plan(l, law, cost, np.zeros(len(l))), _staying(l, law)
    eta, value = np.zeros(len(l)), low[0].copy()
    going = low[1] > budget
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(going)
        if not len(rows):
            break
        # Crossing of the two tangents value = mean + eta (budget - spent).
        at = (low[0][rows] - high[0][rows]) / (low[1][rows] - high[1][rows])
        model = high[0][rows] + at * (budget - high[1][rows])
        mean, spent, where = _plan(l[rows], law[rows], cost, at)
        eta[rows], value[rows] = at, mean + at * (budget - spent)
        better = value[rows] > model + 1e-15 * (1 + np.abs(model))
        above = spent > budget
        for side, chosen in ((low, better & above), (high, better & ~above)):
            for old, new in zip(side, (mean, spent, where), strict=True):
                old[rows[chosen]] = new[chosen]
        going[rows[~better]] = False
    affordable = low[1] <= budget
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(affordable, 1.0, (budget - high[1]) / (low[1] - high[1]))[:, None]
    weights = share * _pushed(law, low[2]) + (1 - share) * _pushed(law, high[2])
    primal = (weights * l).sum(1)
    shape = losses.shape[:-1]
    return WassersteinWorstCase(
        value.reshape(shape),
        primal.reshape(shape),
        weights.reshape(losses.shape),
        eta.reshape(shape),
        (value - primal).reshape(shape),
    )


def _plan(losses: Array, p: Array, cost: Array, eta: Array) -> tuple[Array, Array, _Indices]:
    """The plan in which each atom i goes where l_j - eta c_ij is largest, at eta = 0 to the nearest maximum.

    Returns E_Q l of the law Q that arrives, the cost of transport, and where each atom goes.
    """
    where, paid = np.empty(losses.shape, np.intp), np.flatnonzero(eta > 0)
    where[paid] = best_moves(losses[paid], cost, eta[paid])[0]
    for i in np.flatnonzero(eta == 0):
        top = np.flatnonzero(losses[i] == losses[i].max())
        where[i] = top[cost[:, top].argmin(1)]
    moved = np.take_along_axis(losses, where, 1)
    return (p * moved).sum(1), (p * cost[np.arange(len(cost)), where]).sum(1), where


def best_moves(losses: Array, cost: Array, eta: Array) -> tuple[_Indices, Array]:
    """The argmax and the max over j of l_j - eta c_ij for each atom i, (R, m) each, a tile of rows at a time.

    Example:
        >>> cost = np.array([[0.0, 0.5], [0.5, 0.0]])
        >>> where, best = best_moves(np.array([[0.0, 1.0]]), cost, np.array([1.0]))
        >>> where.tolist(), best.tolist()
        ([[1, 1]], [[0.5, 1.0]])
    """
    r, m = losses.shape
    where, best = np.empty((r, m), np.intp), np.empty((r, m))
    block = max(1, _TILE // max(r * m, 1))
    for i in range(0, m, block):
        scores = losses[:, None] - eta[:, None, None] * cost[i : i + block]
        where[:, i : i + block] = scores.argmax(-1)
        best[:, i : i + block] = np.take_along_axis(scores, where[:, i : i + block, None], -1)[..., 0]
    return where, best


def _staying(losses: Array, p: Array) -> tuple[Array, Array, _Indices]:
    """The plan in which every atom stays where it is, as `_plan` returns one."""
    return (p * losses).sum(1), np.zeros(len(p)), np.tile(np.arange(p.shape[1]), (len(p), 1))


def _pushed(p: Array, where: _Indices) -> Array:
    """The law of the atoms, (R, m), after each moved to `where`."""
    r, m = p.shape
    return np.asarray(
        np.bincount((where + m * np.arange(r)[:, None]).ravel(), p.ravel(), r * m).reshape(r, m), float
    )
