r"""WDPO on a finite space, exactly: a Wasserstein ball of any order and metric around the law of the atoms.

The loss of atom j is l_j = log(1 + exp(-beta <theta, v_j>)), theta measured from the reference policy's
parameter. The worst law moves mass between the atoms given: which atoms exist, and how far apart they are, is
the caller's choice (`cost` = d**order). With the budget B = radius**order, duality turns the worst expected
loss into a minimum over one price eta,

    sup {E_Q l : W_order(Q, P) <= radius}
        = min over eta >= 0 of  eta B + sum_i p_i max_j (l_j - eta c_ij),                                  (1)

so the fit is one convex program,

    minimise  eta B + sum_i p_i s_i   over theta, eta >= 0 and s
    subject to  s_i >= l_j(theta) - eta c_ij  for all atoms i and j.                                       (2)

Constraint generation. (2) has m^2 constraints and needs few of them, because at a solution an atom goes to
one or two places. Each atom starts with staying where it is and with its best moves at a few rough prices.
Round after round, (2) with the constraints found so far is solved by an interior-point method
(`distalign.solvers.robust.interior`), which gives theta, eta and the shares in which the atoms move, and each
atom is given its best move at that price,

    j(i) = argmax over j of  l_j - eta c_ij.                                                               (3)

Each round gives two bounds of the optimum, both computed anew and therefore true whatever the interior-point
method did:

    from above,  eta B + sum_i p_i (l_j(i) - eta c_i,j(i)),  the dual function (1) at theta and eta;       (4)
    from below,  min over theta of E_Q l  for the law Q of the shares, which lies in the ball.             (5)

A fit is certified when they are at most 1e-9 apart. What is not certified is tried again with shorter steps,
and then by cutting planes: (4) is convex in (theta, eta) with the subgradient

    (-sum_j q_j sigma(-beta <theta, v_j>) beta v_j,  B - what the moves cost),                             (6)

q the law after the moves (3), and the largest of all tangents so far is minimised by a linear program
(HiGHS). Its multipliers mix the laws q to one Q for the bound (5). What is not certified then either is
returned as NaN with status "failed". Leading axes are replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.special import expit

from distalign.checks import InputError
from distalign.solvers.robust import interior
from distalign.solvers.robust.collapse import (
    atoms_and_laws,
    projection,
    second_moments,
    warn_of_collapse,
    wasserstein_collapse_radius,
)
from distalign.solvers.robust.wasserstein_ball import best_moves, wasserstein_worst_case
from distalign.solvers.robust.wasserstein_fit import (
    CERTIFIED,
    WassersteinFit,
    checked_ball,
    finished,
    least_loss,
)
from distalign.types import Array

_Indices = NDArray[np.intp]

_ROUNDS = 60
_BLOCK = 2**16  # rows of replicates solved at once
_TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_PROGRESS = 200  # cuts within which the gap has to fall by a tenth
_BOX = 100.0  # |theta_k| in units of 1/max|v| where cutting planes look


@dataclass(frozen=True)
class _Bounds:
    """The best bounds so far: (4) with its theta and multiplier, and (5) with its law; improved in place."""

    theta: Array
    value: Array
    multiplier: Array
    dual: Array
    law: Array

    def improve(
        self, rows: _Indices, theta: Array, multiplier: Array, value: Array, dual: Array, law: Array
    ) -> None:
        better = value < self.value[rows]
        at = rows[better]
        self.theta[at], self.multiplier[at], self.value[at] = theta[better], multiplier[better], value[better]
        better = dual > self.dual[rows]
        self.dual[rows[better]], self.law[rows[better]] = dual[better], law[better]


def fit_finite(
    v: ArrayLike, p: ArrayLike, cost: ArrayLike, *, radius: float, beta: float = 1.0, order: float = 1.0
) -> WassersteinFit:
    r"""argmin over theta of  sup { E_Q l : W_order(Q, P) <= radius },  Q on the atoms of v, for many laws P.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom of the
            space.
        p: (R, m) laws of the atoms (empirical frequencies, say), or (m,) for one; atoms of probability 0 can
            receive mass.
        cost: (m, m) d**order between atoms, zero on the diagonal and symmetric.
        radius: radius, in units of d, above 0.
        beta: scale of the margin, above 0.
        order: order of the distance, at least 1.

    Returns:
        `worst_case` is (R, m), the least favourable law on the atoms.

    Raises:
        InputError: the shapes do not fit, `cost` is no power of a metric, the ball is empty, or some
            direction separates all atoms of the space, so that no minimiser exists.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: arXiv 2502.01930, WDPO on its log-linear class; the finite programme by constraint generation is
        ours.

    Example: the ball reaches the law (0.8, 0.2), whose log-odds are log 4.
        >>> found = fit_finite([[1.0], [-1.0]], [0.9, 0.1], [[0.0, 2.0], [2.0, 0.0]], radius=0.2)
        >>> found.theta.round(6).tolist(), found.worst_case.round(6).tolist()
        ([[1.386294]], [[0.8, 0.2]])
    """
    x, laws = atoms_and_laws(v, p, beta)
    cost = checked_ball(laws, cost, radius, order)
    if np.isinf(projection(x, np.full((1, len(x)), 1 / len(x)))[1][0]):
        raise InputError(
            "some direction of theta has a non-negative margin at every atom of v, so the robust loss has no "
            "minimiser: add atoms, for instance each pair with its label reversed"
        )
    r, (m, d) = len(laws), x.shape
    best = _Bounds(np.zeros((r, d)), np.full(r, np.inf), np.zeros(r), np.full(r, -np.inf), laws.copy())
    for attempt in (_generate, partial(_generate, cautious=True), _cutting_planes):
        open_rows = np.flatnonzero(~(best.value - best.dual <= CERTIFIED))
        for rows in np.array_split(open_rows, -(-len(open_rows) * m // _BLOCK)) if len(open_rows) else ():
            attempt(x, laws[rows], cost, radius**order, best, rows)
    out = finished(best.theta, best.value, best.dual, best.multiplier, best.law)
    if np.ndim(p) == 1 and out.collapsed[0]:
        warn_of_collapse(p, radius, wasserstein_collapse_radius(v, p, cost, order=order))
    return out


def _generate(
    x: Array, laws: Array, cost: Array, budget: float, best: _Bounds, rows: _Indices, cautious: bool = False
) -> None:
    """Constraint generation: solve (2) with few moves an atom and add the best ones until the bounds meet."""
    moves, valid = _first_moves(x, laws, cost, budget)
    for _ in range(_ROUNDS):
        own = cost[np.arange(len(x))[:, None], moves]
        # (2) with the constraints found so far.
        point = interior.solve(
            interior.Pieces(x[moves], own, valid, laws, budget), interior.price, cautious=cautious
        )
        losses = np.logaddexp(0, -point.theta @ x.T)
        where, top = best_moves(losses, cost, point.lam)  # (3)
        law = _law(laws, moves, own, point.shares, budget)
        value = budget * point.lam + (laws * top).sum(1)
        # (4) and (5).
        best.improve(rows, point.theta, point.lam, value, least_loss(x, law, point.theta), law)
        new = ~((moves == where[..., None]) & valid).any(-1) & (laws > 0)
        # A replicate is done when its bounds meet, or when no atom has a better move than those it has.
        going = (best.value[rows] - best.dual[rows] > CERTIFIED / 10) & new.any(1)
        if not going.any():
            break
        moves, valid = (
            np.concatenate([moves, where[..., None]], -1)[going],
            np.concatenate([valid, new[..., None]], -1)[going],
        )
        laws, rows = laws[going], rows[going]


def _first_moves(x: Array, laws: Array, cost: Array, budget: float) -> tuple[_Indices, NDArray[np.bool_]]:
    """The first constraints: staying, and the best moves at one rough theta and five prices.

    The prices lie around the one at which the worst law of the rough theta spends the budget. The second
    result says which moves count: a move met twice counts once, and atoms of probability 0 have none.
    """
    mean, moment = laws @ x, second_moments(laws, x)
    ridge = 0.1 * np.trace(moment, axis1=1, axis2=2)[:, None, None] * np.eye(x.shape[1])
    ridge = np.where(ridge.any((1, 2), keepdims=True), ridge, np.eye(x.shape[1]))  # features all 0
    rough = 2 * np.linalg.solve(moment + ridge, mean[..., None])[..., 0]
    losses = np.logaddexp(0, -rough @ x.T)
    eta = wasserstein_worst_case(losses, laws, cost, radius=budget).multiplier
    stay = np.broadcast_to(np.arange(len(x)), laws.shape)
    moves = np.stack([stay, *(best_moves(losses, cost, s * eta)[0] for s in (0.3, 0.7, 1.01, 1.5, 3.0))], -1)
    first = (moves[..., :, None] != moves[..., None, :]) | (np.arange(6)[:, None] <= np.arange(6))
    return moves, first.all(-1) & (laws > 0)[..., None]


def _law(laws: Array, moves: _Indices, own: Array, shares: Array, budget: float) -> Array:
    """The law that the shares make, mixed with P by as little as brings its cost down to the budget."""
    shares = np.clip(shares, 0, None)
    shares = shares / np.where(shares.sum(-1) > 0, shares.sum(-1), 1)[..., None]
    mass = laws[..., None] * shares
    spent = (mass * own).sum((1, 2))
    fraction = np.minimum(1, budget / np.where(spent > 0, spent, 1))[:, None]
    r, m = laws.shape
    flat = (moves + m * np.arange(r)[:, None, None]).ravel()
    return fraction * np.bincount(flat, mass.ravel(), r * m).reshape(r, m) + (1 - fraction) * laws


def _cutting_planes(x: Array, laws: Array, cost: Array, budget: float, best: _Bounds, rows: _Indices) -> None:
    """Kelley's cutting planes in (theta, eta), one replicate at a time.

    The method is slow, and independent of the interior-point method. theta is sought in a box, and eta up to
    log 2 over the budget, because no optimum exceeds log 2.
    """
    box = _BOX / np.abs(x).max()
    d = x.shape[1]
    for law, row in zip(laws, rows, strict=True):
        theta, eta, cuts, pushed = best.theta[row], best.multiplier[row], [], []
        checked = np.inf
        for k in range(40 * _ROUNDS):
            # No progress: the box does not hold the optimum, or rounding hides it.
            if k % _PROGRESS == _PROGRESS - 1:
                gap = best.value[row] - best.dual[row]
                if not gap < 0.9 * checked:
                    break
                checked = gap
            margins = x @ theta
            losses = np.logaddexp(0, -margins)
            where, top = best_moves(losses[None], cost, np.array([eta]))
            q = np.bincount(where[0], law, len(x))
            spent = float(law @ cost[np.arange(len(x)), where[0]])
            # The subgradient (6) and the value (4) are a new tangent.
            slope = np.append(-(q * expit(-margins)) @ x, budget - spent)
            value = float(eta * budget + law @ top[0])
            cuts.append((slope, value - slope @ np.append(theta, eta)))
            pushed.append(q)
            best.improve(
                row[None], theta[None], np.array([eta]), np.array([value]), np.array([-np.inf]), law[None]
            )
            slopes, offsets = np.array([c[0] for c in cuts]), np.array([c[1] for c in cuts])
            # Minimise the largest tangent: the variables are theta, eta and its height.
            solution = linprog(
                np.append(np.zeros(d + 1), 1),
                np.hstack([slopes, -np.ones((len(cuts), 1))]),
                -offsets,
                bounds=[(-box, box)] * d + [(0, np.log(2) / budget), (None, None)],
                method="highs",
                options=_TIGHT,
            )
            if solution.x is None:
                break
            # The multipliers of the tangents sum to 1 and mix the pushed laws to one that may prove (5).
            mixed = -solution.ineqlin.marginals @ np.array(pushed)
            bound = least_loss(x, mixed[None], theta[None])
            best.improve(row[None], theta[None], np.array([eta]), np.array([np.inf]), bound, mixed[None])
            if best.value[row] - best.dual[row] <= CERTIFIED / 10:
                break
            theta, eta = solution.x[:d], float(solution.x[d])
