r"""WDPO on a small finite space for thousands of laws at once: an interior-point method over all pairs of
atoms.

The program is that of `distalign.solvers.robust.wasserstein_finite` with all its constraints. With the budget
B = radius**order,

    minimise  eta B + sum_i p_i s_i
    subject to  w_ij = s_i + eta c_ij - l_j(theta) >= 0  for all atoms i and j,  eta >= 0.                 (1)

Let p_i z_ij be the multiplier of w_ij >= 0, and nu that of eta >= 0. A solution satisfies

    sum_j z_ij = 1  for every i,  so z_ij is the share of atom i's mass that goes to j;                    (2)
    sum_j q_j grad l_j(theta) = 0  with  q_j = sum_i p_i z_ij,  so theta is optimal for the worst law q;   (3)
    sum_ij p_i z_ij c_ij + nu = B,  so the budget is spent, or transport is free;                          (4)

and every z_ij w_ij and nu eta is 0. The central path is the curve of points at which they are all equal to
mu > 0 instead,

    z_ij w_ij = mu,  nu eta = mu,                                                                          (5)

and it leads to the solution as mu falls to 0. It is followed as a homotopy: from a point near the path, one
Newton step aims at (2) to (5) with mu a tenth of the mean product now; both kinds of variables stay positive
by going at most 99.5 % of the way to the boundary, the primal and the dual ones each by its own length; and
so on until the gap, the weighted sum of all products, is 1e-13.

Newton's step is that of `distalign.solvers.robust.interior`: eliminating s and z leaves d + 1 unknowns, theta
and eta. Here it is cheap although there are m^2 constraints, because the loss at j depends on j alone: every
sum over pairs is a product of an (m, m) matrix with a vector or with the (m, d) features, and nothing of size
(m, m, d) is ever formed. A law of 36 atoms takes about a millisecond, what a rate study needs.

The slacks w are kept as variables, so s never appears. They follow the linearised losses, and the losses bend
away from their tangents; the difference is carried along as `drift` and made up for in the next step. So the
iterates need not satisfy (1), and nothing is promised of the last one: value and lower bound are computed
anew. Larger spaces want the constraint generation of `distalign.solvers.robust.wasserstein_finite`, and so
does what is left uncertified here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from distalign.solvers.robust import wasserstein_finite
from distalign.solvers.robust.collapse import atoms_and_laws
from distalign.solvers.robust.kl_fit import fit_kl_temperature
from distalign.solvers.robust.wasserstein_fit import WassersteinFit, checked_ball, finished
from distalign.types import Array

_BLOCK = 2**17  # shares held at once: they stay in the cache
_ROUNDS, _TOLERANCE = 100, 1e-13
_FIRST, _SHRINK = 0.02, 0.1


@dataclass
class _Path:
    """A point near the central path, for each replicate that is not done.

    Attributes:
        laws: (R, m) laws P.
        theta: (R, d) parameters.
        eta: (R,) price of a unit of cost.
        w: (R, m, m) slacks of (1).
        z: (R, m, m) shares.
        nu: (R,) multiplier of eta >= 0.
        drift: (R, m) the losses that w is computed from, less the losses at theta: w has followed their
            tangents.
    """

    laws: Array
    theta: Array
    eta: Array
    w: Array
    z: Array
    nu: Array
    drift: Array

    def gap(self) -> Array:
        return (self.laws * (self.z * self.w).sum(2)).sum(1) + self.nu * self.eta

    def keep(self, rows: NDArray[np.bool_]) -> _Path:
        return _Path(*(getattr(self, f.name)[rows] for f in fields(self)))


def fit_replicates(
    v: ArrayLike, p: ArrayLike, cost: ArrayLike, *, radius: float, beta: float = 1.0, order: float = 1.0
) -> WassersteinFit:
    r"""argmin over theta of  sup { E_Q l : W_order(Q, P) <= radius },  for many laws P of few atoms.

    It solves the problem of `distalign.solvers.robust.wasserstein_finite.fit_finite`. Value and lower bound
    are computed anew at the answer: the dual function, and the least E_Q l over theta for the law Q of the
    plan. Replicates whose gap stays above 1e-9 are handed to that general solver.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom of the
            space.
        p: (R, m) laws of the atoms, or (m,) for one; atoms of probability 0 can receive mass.
        cost: (m, m) d**order between atoms, zero on the diagonal and symmetric.
        radius: radius, in units of d, above 0.
        beta: scale of the margin, above 0.
        order: order of the distance, at least 1.

    Returns:
        `worst_case` is (R, m), the least favourable law on the atoms.

    Raises:
        InputError: as the general solver.

    Source: arXiv 2502.01930, WDPO on its log-linear class; the method is ours.

    Example:
        >>> found = fit_replicates([[1.0], [-1.0]], [0.9, 0.1], [[0.0, 2.0], [2.0, 0.0]], radius=0.2)
        >>> found.theta.round(6).tolist(), found.worst_case.round(6).tolist()
        ([[1.386294]], [[0.8, 0.2]])
    """
    x, laws = atoms_and_laws(v, p, beta)
    cost = checked_ball(laws, cost, radius, order)
    blocks = np.array_split(np.arange(len(laws)), max(1, len(laws) * len(x) ** 2 // _BLOCK))
    fits = [
        _certified(x, laws[rows], cost, radius**order, *_solve(x, laws[rows], cost, radius**order))
        for rows in blocks
    ]
    out = WassersteinFit(
        *(np.concatenate([getattr(f, name.name) for f in fits]) for name in fields(WassersteinFit))
    )
    failed = np.flatnonzero(~out.solved)
    if len(failed):
        again = wasserstein_finite.fit_finite(v, laws[failed], cost, radius=radius, beta=beta, order=order)
        for name in fields(WassersteinFit):
            getattr(out, name.name)[failed] = getattr(again, name.name)
    return out


def _certified(
    x: Array, laws: Array, cost: Array, budget: float, theta: Array, eta: Array, z: Array
) -> WassersteinFit:
    """The fits with both bounds computed anew.

    The lower bound belongs to the law of the plan, mixed with P by as little as brings its cost down to the
    budget.
    """
    losses = np.logaddexp(0, -theta @ x.T)
    value = eta * budget + (laws * (losses[:, None] - eta[:, None, None] * cost).max(2)).sum(1)
    plan = laws[..., None] * (z / z.sum(2, keepdims=True))
    fraction = np.minimum(1, budget / np.maximum((plan * cost).sum((1, 2)), 1e-300))[:, None]
    q = fraction * plan.sum(1) + (1 - fraction) * laws
    q /= q.sum(1, keepdims=True)
    least = fit_kl_temperature(x, q, temperature=np.inf)
    return finished(theta, value, np.where(least.solved, least.dual, -np.inf), eta, q)


def _solve(x: Array, laws: Array, cost: Array, budget: float) -> tuple[Array, Array, Array]:
    """theta (R, d), eta (R,) and shares (R, m, m) at the end of the central path, with no guarantee."""
    at, rows = _start(x, laws, cost, budget), np.arange(len(laws))
    theta, eta, z = at.theta.copy(), at.eta.copy(), at.z.copy()
    for _ in range(_ROUNDS):
        length = _advance(at, x, cost, budget)
        theta[rows], eta[rows], z[rows] = at.theta, at.eta, at.z
        going = ~((at.gap() < _TOLERANCE) & (np.abs(at.drift).max(1) < 1e-12) & (length > 0.9))
        going &= np.isfinite(at.theta).all(1)
        rows, at = rows[going], at if going.all() else at.keep(going)
        if not len(rows):
            break
    return theta, eta, z


def _start(x: Array, laws: Array, cost: Array, budget: float) -> _Path:
    """The start: theta = 0, where all losses are equal, with w and z on the central path (2) and (5).

    eta is chosen such that about the budget is spent.
    """
    r, m = laws.shape
    eta = (m - 1) * _FIRST / budget
    s = np.full(m, _FIRST)
    for _ in range(60):  # Newton from the left on a convex decreasing function
        w = s[:, None] + eta * cost
        s = s + ((_FIRST / w).sum(1) - 1) / (_FIRST / w**2).sum(1)
    w = np.tile(s[:, None] + eta * cost, (r, 1, 1))
    return _Path(
        laws,
        np.zeros((r, x.shape[1])),
        np.full(r, eta),
        w,
        _FIRST / w,
        np.full(r, _FIRST / eta),
        np.zeros((r, m)),
    )


def _advance(at: _Path, x: Array, cost: Array, budget: float) -> Array:
    """One Newton step towards a tenth of the gap, in place; returns the shorter of its two lengths, (R,).

    `target` is mu / w, `stiff` is z / w, and `short` is by how much the targets of a row miss (2).
    """
    margins = at.theta @ x.T
    wrong, losses = expit(-margins), np.logaddexp(0, -margins)
    mu = _SHRINK * at.gap() / (len(x) + 1)
    target, stiff = mu[:, None, None] / at.w, at.z / at.w
    short = target.sum(2) - 1 - (stiff @ at.drift[..., None])[..., 0]
    total = stiff.sum(2)
    # The step in (theta, eta), then that of s, w, z and nu, which (5) linearised gives from it.
    dx, centre = _direction(at, x, cost, budget, (wrong, mu, target, stiff, short))
    ds = short / total - (centre @ dx[..., None])[..., 0]
    linear = -wrong * (dx[:, :-1] @ x.T)
    dw = cost * dx[:, -1, None, None]
    dw += ds[..., None]
    dw += (at.drift - linear)[:, None]
    dz = target - at.z
    dz -= stiff * dw
    dnu = mu / at.eta - at.nu - at.nu / at.eta * dx[:, -1]
    # The longest steps that keep w and eta, and z and nu, positive; at most 1.
    primal = 0.995 / np.maximum(np.maximum((-dw / at.w).max((1, 2)), -dx[:, -1] / at.eta), 0.995)
    dual = 0.995 / np.maximum(np.maximum((-dz / at.z).max((1, 2)), -dnu / at.nu), 0.995)
    at.theta, at.eta = at.theta + primal[:, None] * dx[:, :-1], at.eta + primal * dx[:, -1]
    at.nu = at.nu + dual * dnu
    at.w = at.w + primal[:, None, None] * dw
    at.z = at.z + dual[:, None, None] * dz
    # w has followed the tangents of the losses. What the losses bend away from them is the new drift.
    bent = np.logaddexp(0, -at.theta @ x.T) - losses - primal[:, None] * linear
    at.drift = (1 - primal)[:, None] * at.drift - bent
    return np.minimum(primal, dual)


def _direction(
    at: _Path, x: Array, cost: Array, budget: float, terms: tuple[Array, Array, Array, Array, Array]
) -> tuple[Array, Array]:
    """Newton's step in (theta, eta), (R, d + 1), and the mean gradient of each row's slacks, (R, m, d + 1).

    A slack w_ij has the gradient (sigma(-margin_j) x_j, c_ij) in (theta, eta). The system is (8) of
    `distalign.solvers.robust.interior`: the sum of p_i stiff_ij times gradient times its transpose, less the
    same of the rows' means, which is what eliminating s subtracts, plus the curvature of the losses.
    """
    wrong, mu, target, stiff, short = terms
    d, p = x.shape[1], at.laws[:, None]
    paid, total = stiff * cost, stiff.sum(2)
    centre = np.concatenate([stiff @ (wrong[..., None] * x), paid.sum(2)[..., None]], 2) / total[..., None]
    arriving, arriving_paid, q = (p @ stiff)[:, 0], (p @ paid)[:, 0], (p @ at.z)[:, 0]
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), d * d)
    system = np.zeros((len(wrong), d + 1, d + 1))
    system[:, :d, :d] = ((arriving * wrong**2 + q * wrong * (1 - wrong)) @ outer).reshape(-1, d, d)
    system[:, :d, d] = system[:, d, :d] = (arriving_paid * wrong) @ x
    system[:, d, d] = (at.laws * (paid * cost).sum(2)).sum(1) + at.nu / at.eta
    system -= np.swapaxes(centre, 1, 2) @ ((at.laws * total)[..., None] * centre)
    system += 1e-14 * np.trace(system, axis1=1, axis2=2)[:, None, None] * np.eye(d + 1)
    pull = (p @ target)[:, 0] - arriving * at.drift
    spent = (at.laws * (target * cost).sum(2)).sum(1) - (arriving_paid * at.drift).sum(1)
    rhs = np.concatenate([(pull * wrong) @ x, (spent - budget + mu / at.eta)[:, None]], 1)
    rhs -= ((at.laws * short)[:, None] @ centre)[:, 0]
    return np.linalg.solve(system, rhs[..., None])[..., 0], centre
