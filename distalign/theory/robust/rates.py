"""Limit laws of Wasserstein-robust fits at a fixed radius: what the rate studies should measure.

The robust problem is finite-dimensional M-estimation in theta and the dual variable, so theta_n - theta is of
order n^{-1/2} with a sandwich covariance (for Kullback-Leibler balls: `distalign.theory.robust.kldpo`). For a
ball on R^d the dual is smooth; on a finite space it is piecewise smooth, which `transport_limit` explains.
All of it is ours.

The notation is that of `kldpo`: l = log(1 + exp(-beta <theta, v>)), theta measured from the reference
policy's parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit
from scipy.stats import norm

from distalign.arguments import COST, LAW, ORDER, POSITIVE, REAL, checked, moderate_margins, spanning
from distalign.checks import InputError
from distalign.types import Array

_Indices = NDArray[np.intp]


@dataclass(frozen=True)
class TransportLimit:
    """Limit law of a fit over a Wasserstein ball of a finite space.

    Attributes:
        covariance: (d, d) limit covariance of sqrt(n) (theta_n - theta), of rank d + 1 - ties (or 0).
        ties: pairs of targets between which an atom is indifferent. Each takes one direction from the noise;
            d + 1 of them fix theta, and theta_n = theta exactly with probability tending to 1.
        margins: (k,) n at which each margin that keeps the dual on its piece (a split of mass above 0, a move
            not worth its price) is one standard deviation of its estimate wide; decreasing. Margins that no
            draw moves are left out.
        influence: (m, d) first-order change of theta by a draw of each atom, of mean 0: theta_n - theta is
            about the mean influence of the draws.
    """

    covariance: Array
    ties: int
    margins: Array
    influence: Array

    def regime(self, deviations: float = 3.0) -> float:
        """The n from which every margin is at least `deviations` standard deviations wide.

        Below this n the estimate may lie on another piece than the population, and the limit need not hold.
        """
        return float(deviations**2 * self.margins[0])

    def off_piece(self, n: float) -> float:
        """Bound on the probability that n draws leave the population's piece.

        It is a union bound over the margins in the normal approximation.
        """
        return float(norm.cdf(-np.sqrt(n / self.margins)).sum())


@checked(
    spanning,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    cost=COST,
    theta=REAL.of("d"),
    multiplier=POSITIVE,
    radius=POSITIVE.solvable,
    order=ORDER,
    beta=POSITIVE,
    tolerance=POSITIVE,
)
def transport_limit(
    v: Array,
    p: Array,
    cost: Array,
    theta: Array,
    multiplier: float,
    *,
    radius: float,
    order: float = 1.0,
    beta: float = 1.0,
    tolerance: float = 1e-7,
) -> TransportLimit:
    r"""The limit law of the fit over a Wasserstein ball of a finite space, which has a piecewise dual.

    The fit minimises over theta and eta >= 0

        eta rho^q + \sum_i p_i max_j (l_j(theta) - eta c_ij),                                       (1)

    where atom i moves to the target j that gains most after paying eta for the cost c_ij. Each choice of
    targets is a smooth piece of (1), and (1) is their maximum. The optimum usually lies on the border of
    pieces: some atoms i are tied between targets and split their mass between them, for only a split spends
    exactly the budget rho^q. On the border the problem is smooth again once the ties are imposed. Let b(i) be
    one target of each atom, its base, and s the mass that is sent to the other tied targets j. Then (theta,
    eta, s) solve

        \sum_i p_i grad l_b(i) + \sum s (grad l_j - grad l_b(i)) = 0                                (2)
        \sum_i p_i c_i,b(i) + \sum s (c_ij - c_i,b(i)) = rho^q                                      (3)
        l_j(theta) - eta c_ij = l_b(i)(theta) - eta c_i,b(i)   for each tie                         (4)

    which are smooth, and linear in p. Their Jacobian K is that of a saddle point: (2) and (3) have s as
    Lagrange multipliers of (4). By the implicit function theorem the atoms of a sample enter through  g_i =
    (grad l_b(i), -c_i,b(i), 0),  and the limit covariance is the block of theta in

        K^{-1} Cov_P(g) K^{-1}.                                                                     (5)

    Each tie takes one direction from the noise. The limit holds while the sample's optimum lies on the same
    border: all splits s stay positive and all moves that do not pay stay unprofitable. How wide these margins
    are, in standard deviations of their estimates, is returned as well.

    Args:
        v: (m, d) features of the chosen minus the rejected response, one row an atom of the space.
        p: (m,) law of the atoms, positive.
        cost: (m, m) d**order between atoms.
        theta: (d,) population minimiser, exact to well below `tolerance`.
        multiplier: eta there, above 0.
        radius: radius of the ball, in units of d.
        order: order of the distance.
        beta: scale of the margin.
        tolerance: moves that lose less than this are ties.

    Raises:
        InputError: the ties do not solve the equations of the optimum, or not uniquely.

    Example:
        >>> v, cost = np.array([[1.0], [-1.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])
        >>> p, theta = np.array([0.9, 0.1]), np.array([np.log(4)])
        >>> limit = transport_limit(v, p, cost, theta, np.log(4) / 2, radius=0.2)
        >>> limit.ties, round(float(limit.covariance[0, 0]), 9)  # p (1 - p) over (q (1 - q))^2 at q = 0.8
        (1, 3.515625)
    """
    atoms, d = np.arange(len(v)), v.shape[1]
    losses, gradients, curvatures = losses_at(v, theta, beta)
    worth = losses - multiplier * cost
    slack = worth.max(1)[:, None] - worth
    base = slack.argmin(1)  # b(i), the target that gains most
    tied = slack < tolerance
    tied[atoms, base] = False
    i, j = np.nonzero(tied)
    # Eqs. (2) and (3): what one unit of mass sent to j instead of b(i) changes, and what has to come out
    swaps = np.vstack([(gradients[j] - gradients[base[i]]).T, cost[i, base[i]] - cost[i, j]])
    unsplit = np.r_[p @ gradients[base], radius**order - p @ cost[atoms, base]]
    split = _split(swaps, unsplit)
    q = np.bincount(base, p, len(p)) + np.bincount(j, split, len(p)) - np.bincount(base[i], split, len(p))
    # the worst law q gives the curvature; ties border it: K of Eq. (5)
    jacobian = np.zeros((d + 1 + len(i),) * 2)
    jacobian[:d, :d] = v.T @ ((q * curvatures)[:, None] * v)
    jacobian[: d + 1, d + 1 :], jacobian[d + 1 :, : d + 1] = swaps, swaps.T
    moments = np.zeros((len(v), len(jacobian)))
    moments[:, : d + 1] = np.column_stack([gradients[base], -cost[atoms, base]])
    # row i: first-order change of (theta, eta, s) by a draw of atom i, -K^{-1} (g_i - E g)
    influence = -np.linalg.solve(jacobian, (moments - p @ moments).T).T
    # moves that do not pay: how their slack changes with (theta, eta)
    moves = np.column_stack(
        [
            np.repeat(gradients[base], len(v), 0) - np.tile(gradients, (len(v), 1)),
            (cost - cost[atoms, base][:, None]).ravel(),
        ]
    )[(slack >= tolerance).ravel()]
    widths = [
        (split, influence[:, d + 1 :]),
        (slack[slack >= tolerance], influence[:, : d + 1] @ moves.T),
        _remaining(p, i, split, influence[:, d + 1 :]),
    ]
    margins = np.concatenate([(p @ change**2) / margin**2 for margin, change in widths])
    own = influence[:, :d]
    return TransportLimit(own.T @ (p[:, None] * own), len(i), np.sort(margins[margins > 0])[::-1], own)  # pyright: ignore[reportArgumentType]


def _split(swaps: Array, kept: Array) -> Array:
    """Mass that leaves each base for its other tied targets, so that Eqs. (2) and (3) hold."""
    solution: Any = np.linalg.lstsq(swaps, -kept, rcond=1e-9)
    split, rank = solution[0], solution[2]
    if rank < swaps.shape[1]:
        raise InputError(
            f"the optimum lies on more ties than it determines ({swaps.shape[1]}, of rank {rank}), so its "
            "worst law is not unique and no limit is claimed: take another radius"
        )
    if np.abs(swaps @ split + kept).max() > 1e-6:
        raise InputError(
            "theta and multiplier are no optimum of this ball: solve it to well below `tolerance` first"
        )
    return split


def _remaining(p: Array, i: _Indices, split: Array, influence: Any) -> tuple[Array, Array]:
    """Mass that each splitting atom sends to its base, and the influence of every atom on it."""
    sources, group = np.unique(i, return_inverse=True)
    sums = np.equal.outer(group, np.arange(len(sources))).astype(float)
    own = np.equal.outer(np.arange(len(p)), sources) - p[sources]
    return p[sources] - split @ sums, own - influence @ sums


@checked(
    spanning,
    moderate_margins,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    multiplier=POSITIVE,
    radius=POSITIVE,
    beta=POSITIVE,
)
def euclidean_covariance(
    v: Array, p: Array, theta: Array, multiplier: float, *, radius: float, beta: float = 1.0
) -> Array:
    """Limit covariance (d, d) of sqrt(n) (theta_n - theta) for the Wasserstein ball of order 2 on R^d.

    It is the covariance of `euclidean_influence`, whose arguments these are.

    Raises:
        InputError: as `euclidean_influence`.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.8, 0.2])
        >>> covariance = euclidean_covariance(v, p, np.array([np.log(4)]), 1e8, radius=1e-9)
        >>> float(covariance[0, 0].round(4))  # DPO's, 1/(p (1 - p))
        6.25
    """
    influence = euclidean_influence(v, p, theta, multiplier, radius=radius, beta=beta)
    return influence.T @ (p[:, None] * influence)


@checked(
    spanning,
    moderate_margins,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    multiplier=POSITIVE,
    radius=POSITIVE,
    beta=POSITIVE,
)
def euclidean_influence(
    v: Array, p: Array, theta: Array, multiplier: float, *, radius: float, beta: float = 1.0
) -> Array:
    """First-order change (m, d) of theta by a draw of each atom, for the Wasserstein ball of order 2 on R^d.

    The dual is  eta rho^2 + E phi(theta, eta; v)  with

        phi = max over delta >= 0 of  log(1 + exp(-beta (<theta, v> - delta ||theta||))) - eta delta^2.    (6)

    It is smooth in (theta, eta) where 2 eta > beta^2 ||theta||^2 / 4, which makes the maximand concave in
    delta. The influence of mean 0 is  -H^{-1} (g - E g),  H and g the Hessian of the dual and the gradient of
    an atom's share of it; theta_n - theta is about the mean influence of the draws, so the limit covariance
    of sqrt(n) (theta_n - theta) is that of the influence.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        theta: (d,) population minimiser.
        multiplier: eta there.
        radius: radius of the ball, in units of v.
        beta: scale of the margin.

    Raises:
        InputError: the inner problem is not concave at this multiplier.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.8, 0.2])
        >>> influence = euclidean_influence(v, p, np.array([np.log(4)]), 1e8, radius=1e-9)
        >>> float((p @ influence**2)[0].round(4))  # DPO's variance, 1/(p (1 - p))
        6.25
    """
    size = float(np.linalg.norm(theta))
    if not 8 * multiplier > (beta * size) ** 2:
        raise InputError(
            "the multiplier is too small for the inner problem to be concave: take a smaller radius"
        )
    unit, delta = theta / size, _moves(v, theta, multiplier, beta)
    moments = _moments(v, theta, delta, radius, beta)
    moved = v - np.outer(delta, unit)
    wrong = expit(-beta * moved @ theta)
    bend = beta**2 * wrong * (1 - wrong)
    sideways = beta * (p @ (wrong * delta)) / size * (np.eye(len(unit)) - np.outer(unit, unit))
    mixed = np.column_stack([beta * np.outer(wrong, unit) - (bend * size)[:, None] * moved, -2 * delta])
    hessian = mixed.T @ ((p / (2 * multiplier - bend * size**2))[:, None] * mixed)
    hessian[:-1, :-1] += moved.T @ ((p * bend)[:, None] * moved) + sideways
    return -np.linalg.solve(hessian, (moments - p @ moments).T).T[:, :-1]


def _searchable(v: Array, p: Array, start: Array, radius: float, beta: float) -> str:
    """A relation: the tolerance of the search, 1e-9, is small beside the gradient."""
    size = beta * float(np.linalg.norm(np.asarray(v, float)[np.asarray(p) > 0], axis=1).max())
    if not 1e-2 <= size <= 1e3:
        return f"beta times the longest v must be from 0.01 to 1,000, got {size:.3g}: rescale one of them"
    if not beta * np.abs(np.asarray(v, float) @ np.asarray(start, float)).max() >= 1e-6:
        return "start must have a margin of 1e-6 at least: start at DPO's minimiser"
    if radius < 1e-4 and not np.abs(np.asarray(p) @ losses_at(v, start, beta)[1]).max() <= 1e-6 * beta:
        return f"start must be DPO's minimiser, up to a gradient of 1e-6, for a radius as small as {radius:g}"
    return moderate_margins(v, start, beta)


@checked(
    spanning,
    _searchable,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    start=REAL.of("d"),
    radius=replace(POSITIVE, low=1e-7),
    beta=replace(POSITIVE, low=1e-3, high=1e3),
)
def euclidean_optimum(
    v: Array, p: Array, start: Array, *, radius: float, beta: float = 1.0
) -> tuple[Array, float]:
    """The robust optimum theta (d,) and multiplier over a small Wasserstein ball of order 2 on R^d.

    It is the root of the gradient of the dual of `euclidean_influence` in (theta, log eta), found by Powell's
    method, and so independent of the solver of `distalign.solvers.robust.wasserstein_euclidean`.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        start: (d,) where the search starts: DPO's minimiser.
        radius: radius of the ball, in units of v, at least 1e-7.
        beta: scale of the margin.

    Raises:
        InputError: no root was found, as beyond the collapse radius.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> theta, _ = euclidean_optimum(v, p, np.array([np.log(9)]), radius=0.1)
        >>> round(theta.item(), 4)
        1.9152
    """
    wrong = expit(-beta * v @ start)
    eta = beta * np.linalg.norm(start) * np.sqrt(p @ wrong**2) / (2 * radius)  # to first order in the radius

    def gradient(point: Array) -> Array:
        theta, multiplier = point[:-1], float(np.exp(point[-1]))
        return p @ _moments(v, theta, _moves(v, theta, multiplier, beta), radius, beta)

    found: Any = root(gradient, np.append(start, np.log(eta)), tol=1e-13)
    if np.abs(gradient(found.x)).max() > 1e-9:
        raise InputError("no optimum was found: take a radius well below the collapse radius")
    return found.x[:-1], float(np.exp(found.x[-1]))


def _moves(v: Array, theta: Array, multiplier: float, beta: float) -> Array:
    """(m,) the maximiser delta of (6) for each atom: a fixed point, of a contraction where (6) is concave."""
    size, t = float(np.linalg.norm(theta)), v @ theta
    delta = np.zeros(len(v))
    for _ in range(200):
        delta = beta * size * expit(-beta * (t - delta * size)) / (2 * multiplier)
    return delta


def _moments(v: Array, theta: Array, delta: Array, radius: float, beta: float) -> Array:
    """(m, d + 1) gradient in (theta, eta) of each atom's share of the dual (6), at its maximiser delta."""
    moved = v - np.outer(delta, theta / np.linalg.norm(theta))
    wrong = expit(-beta * moved @ theta)
    return np.column_stack([-beta * wrong[:, None] * moved, radius**2 - delta**2])


@checked(v=REAL.of("m d"), theta=REAL.of("d"), beta=POSITIVE)
def losses_at(v: Array, theta: Array, beta: float) -> tuple[Array, Array, Array]:
    """Losses (m,), their gradients (m, d), and the factors of v v^T in their Hessians (m,).

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        theta: (d,) parameter.
        beta: scale of the margin.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> losses, gradients, factors = losses_at(np.array([[2.0]]), np.array([0.0]), 1.0)
        >>> round(losses.item(), 4), gradients.item(), factors.item()
        (0.6931, -1.0, 0.25)
    """
    margins = beta * v @ theta
    wrong = expit(-margins)
    return np.logaddexp(0, -margins), -beta * wrong[:, None] * v, beta**2 * wrong * (1 - wrong)
