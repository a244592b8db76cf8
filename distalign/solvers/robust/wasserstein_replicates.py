r"""WDPO on a small finite space for thousands of laws at once: an interior-point method over all pairs of
atoms.

    minimise  eta rho^q + sum_i p_i s_i   subject to   w_ij = s_i + eta c_ij - l_j(theta) >= 0,  eta >= 0

The multiplier of w_ij is p_i z_ij, z_ij the share of atom i's mass that goes to j. The loss at j depends on j
alone, so a step costs a handful of (m x m) products a replicate and no pass over (m, m, d): a millisecond at
36 atoms, what a rate study needs. Larger spaces want the constraint generation of
`distalign.solvers.robust.wasserstein_finite`, and so does what is left uncertified here.
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
    """A point near the central path of each replicate still going.

    s never appears: w and z tell where it is. `drift` (R, m) is by how much the losses exceed what w takes
        them for.
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
    r"""The same as `distalign.solvers.robust.wasserstein_finite.fit_finite`, for many laws of few atoms.

    Value and lower bound are computed anew at the answer: the dual function, and the least E_Q l over theta
    for the law Q of the plan. Replicates whose gap stays above 1e-9 are handed to the general solver.

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
    parts = np.array_split(np.arange(len(laws)), max(1, len(laws) * len(x) ** 2 // _BLOCK))
    found = [
        _certified(x, laws[rows], cost, radius**order, *_solve(x, laws[rows], cost, radius**order))
        for rows in parts
    ]
    out = WassersteinFit(
        *(np.concatenate([getattr(f, name.name) for f in found]) for name in fields(WassersteinFit))
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
    """Both bounds at the answer; of the plan as much is left in place as the budget asks."""
    losses = np.logaddexp(0, -theta @ x.T)
    value = eta * budget + (laws * (losses[:, None] - eta[:, None, None] * cost).max(2)).sum(1)
    plan = laws[..., None] * (z / z.sum(2, keepdims=True))
    kept = np.minimum(1, budget / np.maximum((plan * cost).sum((1, 2)), 1e-300))[:, None]
    q = kept * plan.sum(1) + (1 - kept) * laws
    q /= q.sum(1, keepdims=True)
    least = fit_kl_temperature(x, q, temperature=np.inf)
    return finished(theta, value, np.where(least.solved, least.dual, -np.inf), eta, q)


def _solve(x: Array, laws: Array, cost: Array, budget: float) -> tuple[Array, Array, Array]:
    """theta (R, d), eta (R,) and shares (R, m, m) at the end of the central path; nothing is promised of
    them.
    """
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
    """theta = 0, and a point of the central path at its losses: shares sum to 1, and about the budget is
    spent.
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
    """One step towards a tenth of the gap, in place; returns its length (the shorter of primal and dual)."""
    margins = at.theta @ x.T
    wrong, losses = expit(-margins), np.logaddexp(0, -margins)
    mu = _SHRINK * at.gap() / (len(x) + 1)
    target, stiff = mu[:, None, None] / at.w, at.z / at.w
    short = target.sum(2) - 1 - (stiff @ at.drift[..., None])[..., 0]
    total = stiff.sum(2)
    dx, centre = _direction(at, x, cost, budget, (wrong, mu, target, stiff, short))
    ds = short / total - (centre @ dx[..., None])[..., 0]
    linear = -wrong * (dx[:, :-1] @ x.T)
    dw = cost * dx[:, -1, None, None]
    dw += ds[..., None]
    dw += (at.drift - linear)[:, None]
    dz = target - at.z
    dz -= stiff * dw
    dnu = mu / at.eta - at.nu - at.nu / at.eta * dx[:, -1]
    primal = 0.995 / np.maximum(np.maximum((-dw / at.w).max((1, 2)), -dx[:, -1] / at.eta), 0.995)
    dual = 0.995 / np.maximum(np.maximum((-dz / at.z).max((1, 2)), -dnu / at.nu), 0.995)
    at.theta, at.eta = at.theta + primal[:, None] * dx[:, :-1], at.eta + primal * dx[:, -1]
    at.nu = at.nu + dual * dnu
    at.w = at.w + primal[:, None, None] * dw
    at.z = at.z + dual[:, None, None] * dz
    # w follows its linearisation; what the losses bend away from it is made up for in the next step.
    bent = np.logaddexp(0, -at.theta @ x.T) - losses - primal[:, None] * linear
    at.drift = (1 - primal)[:, None] * at.drift - bent
    return np.minimum(primal, dual)


def _direction(
    at: _Path, x: Array, cost: Array, budget: float, terms: tuple[Array, Array, Array, Array, Array]
) -> tuple[Array, Array]:
    """Newton's step in (theta, eta), (R, d + 1), s eliminated; and the stiffness-weighted mean slope of each
    row's pieces.
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
    right = np.concatenate([(pull * wrong) @ x, (spent - budget + mu / at.eta)[:, None]], 1)
    right -= ((at.laws * short)[:, None] @ centre)[:, 0]
    return np.linalg.solve(system, right[..., None])[..., 0], centre
