r"""A primal-dual interior-point method for robust logistic regression, many small problems at once.

Row i holds the mass p_i and may send it to one of a few candidates k, at the cost c_ik. Arrived there, its
loss is f_ik(theta) = log(1 + exp(-<theta, v_ik>)). By duality the worst expected loss under a budget for the
cost, minimised over theta, is

    minimise  lam budget + sum_i p_i max_k [f_ik(theta) - lam c_ik]   over theta and lam >= 0,             (1)

and on R^d also subject to |theta|_* <= lam. One variable s_i for each maximum makes it smooth:

    minimise  lam budget + sum_i p_i s_i
    subject to  w_ik = s_i + lam c_ik - f_ik(theta) >= 0  and  h_c(theta, lam) <= 0,                       (2)

where the convex functions h_c say lam >= 0 or the norm constraint (a `Cone`).

The central path. Let p_i z_ik be the multiplier of w_ik >= 0, y_c that of h_c <= 0, x = (theta, lam), and
g_ik the gradient of f_ik - lam c_ik in x. A solution of (2) satisfies

    sum_k z_ik = 1  for every row i,                                                                       (3)
    budget e_lam + sum_ik p_i z_ik g_ik + sum_c y_c grad h_c = 0,                                          (4)
    z_ik w_ik = 0  and  -y_c h_c = 0.

By (3), z_ik is the share of row i's mass that goes to k: the dual solution is the worst law itself. The path
asks for a little less than complementarity,

    z_ik w_ik = mu  and  -y_c h_c = mu,   mu > 0.                                                          (5)

Each mu gives one point at which all slacks and multipliers are positive, and as mu falls to 0 the point tends
to the solution. The method follows this path: from where it stands it makes one Newton step towards the point
of a smaller mu, and never waits for any of them to be reached exactly.

Elimination. Newton's step solves (3), (4) and (5) linearised. With b_ik = z_ik / w_ik and t_ik = mu / w_ik,
(5) gives the change of the shares

    dz_ik = t_ik - z_ik - b_ik (ds_i - <g_ik, dx>).                                                        (6)

Put into (3) it gives each row's own variable, where B_i = sum_k b_ik and m_i = sum_k b_ik g_ik / B_i is the
mean gradient of the row:

    ds_i = (sum_k t_ik - 1) / B_i + <m_i, dx>,                                                             (7)

and both put into (4) leave a system for dx alone, of d + 1 unknowns for each replicate:

    H dx = -r,                                                                                             (8)
    H = sum_ik p_i [b_ik (g_ik - m_i)(g_ik - m_i)' + z_ik hess f_ik]
        + sum_c [y_c hess h_c + (y_c / -h_c) grad h_c grad h_c'],
    r = budget e_lam + sum_i p_i [sum_k t_ik (g_ik - m_i) + m_i] + sum_c (mu / -h_c) grad h_c.

So a step costs one pass over the candidates and a small dense solve, however many rows there are.

The length of a step. Every z and y must stay positive: the step goes at most 99 % of the way to where the
first of them would reach 0. Slacks are no linear functions of theta, so the step is then shortened until each
of them keeps a part of itself. A long step shows that the path is easy, and the next target mu is smaller; a
short one makes the next target more modest.

Source: a textbook primal-dual method; what is ours is its form for many small robust regressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from distalign.types import Array

Cone = Callable[[Array, Array, Array], tuple[Array, Array, Array]]

_ROUNDS = 120
_HALVINGS = 60


@dataclass(frozen=True)
class Pieces:
    """Candidate moves: row i may go to k at the cost c_ik, where its loss is log(1 + exp(-<theta, v_ik>)).

    Attributes:
        v: (R or 1, S, K, d) differences of features at the candidates, times beta.
        cost: (R or 1, S, K) cost of the move; 0 for k = 0, where the atom stays.
        valid: (R, S, K) whether there is such a candidate; the others are padding.
        p: (R, S) law of the rows; a row of probability 0 must have no valid candidate.
        budget: radius**order.
    """

    v: Array
    cost: Array
    valid: NDArray[np.bool_]
    p: Array
    budget: float


@dataclass(frozen=True)
class Point:
    """Where the method ended, for each replicate.

    Attributes:
        theta: (R, d) parameters.
        lam: (R,) price of a unit of cost.
        shares: (R, S, K) shares z of each row's mass.
        gap: (R,) complementarity that is left: how far the point may be from optimal.
    """

    theta: Array
    lam: Array
    shares: Array
    gap: Array


def solve(pieces: Pieces, cone: Cone, *, tolerance: float = 1e-12, cautious: bool = False) -> Point:
    """Follow the central path until complementarity falls below `tolerance`.

    The answer carries no guarantee: the caller computes its value and a lower bound anew. With `cautious` the
    steps are shorter and the targets more modest, which helps where the first attempt was not certified.

    Example:
        >>> v, stays, law = np.array([[[[1.0]], [[-1.0]]]]), np.zeros((1, 2, 1)), np.array([[0.8, 0.2]])
        >>> one = Pieces(v, stays, np.ones((1, 2, 1), bool), law, 0.0)
        >>> round(solve(one, price).theta.item(), 6)  # plain logistic regression: log(0.8 / 0.2)
        1.386294
    """
    r, (s_rows, d) = len(pieces.p), (pieces.p.shape[1], pieces.v.shape[-1])
    theta, lam, s = np.zeros((r, d)), np.ones(r), np.full((r, s_rows), np.log(2) + 1)
    z = pieces.valid / np.maximum(pieces.valid.sum(-1, keepdims=True), 1)
    y = np.ones((r, cone(theta, lam, np.zeros((r, 1)))[0].shape[1]))
    sigma, done, gap = np.full(r, 0.3), np.zeros(r, bool), np.full(r, np.inf)
    longest, floor = (0.7, 0.3) if cautious else (0.99, 0.02)
    for _ in range(_ROUNDS * (3 if cautious else 1)):
        w, wrong = _slacks(pieces, theta, lam, s)
        h, h_gradient, h_hessian = cone(theta, lam, y)
        # On the path every product in (5) is mu, so the gap is mu times their weighted number.
        gap = (pieces.p[..., None] * z * w).sum((1, 2)) - (y * h).sum(1)
        counts = (pieces.p * pieces.valid.sum(-1)).sum(1) + y.shape[1]
        step = _step(
            pieces,
            (wrong, w, z),
            (h, h_gradient, h_hessian, y),
            np.maximum(sigma * gap, tolerance / 10) / counts,
        )
        dx, ds, dz, dy, residual = step
        # A replicate that has converged, or whose step is not finite, stays where it is.
        done |= ((gap < tolerance) & (residual < 1e-10)) | ~np.isfinite(dx).all(1)
        if done.all():
            break
        # Towards the boundary z >= 0, y >= 0, and then inside w >= 0, h <= 0.
        length = np.where(done, 0, np.minimum(1, longest * np.minimum(_room(z, dz), _room(y, dy))))
        length = _inside(pieces, cone, (theta, lam, s), (dx, ds), w, h, length)
        # The next target is a share sigma of the gap: smaller after a long step, larger after a short one.
        sigma = np.where(length > 0.9, np.maximum(sigma / 3, floor), np.minimum(2 * sigma, 0.5))
        length = length[:, None]
        move = np.where(done[:, None], 0, length * dx)
        theta, lam = theta + move[:, :d], lam + move[:, d]
        s, y = s + np.where(done[:, None], 0, length * ds), y + np.where(done[:, None], 0, length * dy)
        z = z + np.where(done[:, None, None], 0, length[..., None] * dz)
    return Point(theta, lam, z, gap)


def _slacks(pieces: Pieces, theta: Array, lam: Array, s: Array) -> tuple[Array, Array]:
    """Slacks w of (2), 1 at padding, and sigma(-margin), the slope of the loss, at each candidate."""
    margins = np.einsum("rskd,rd->rsk", pieces.v, theta)
    w = s[..., None] + lam[:, None, None] * pieces.cost - np.logaddexp(0, -margins)
    return np.where(pieces.valid, np.maximum(w, 1e-18), 1.0), expit(-margins)


def _step(
    pieces: Pieces, rows: tuple[Array, Array, Array], cone: tuple[Array, Array, Array, Array], mu: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Newton's step towards the point of the path at mu, by the elimination (6) to (8).

    Returns dx = (dtheta, dlam), ds, dz, dy, and by how much (3) and (4) are violated now.
    """
    wrong, w, z = rows
    h, h_gradient, h_hessian, y = cone
    # t_ik of (6); `stiff` is b_ik, `total` B_i, `centre` m_i and `off` g_ik - m_i.
    p, target = pieces.p, np.where(pieces.valid, mu[:, None, None] / w, 0)
    g = np.concatenate(
        [-wrong[..., None] * pieces.v, np.broadcast_to(-pieces.cost[..., None], (*wrong.shape, 1))], -1
    )
    stiff = z / w
    total = np.where(stiff.sum(-1) > 0, stiff.sum(-1), 1)
    centre = np.einsum("rsk,rskn->rsn", stiff, g) / total[..., None]
    off = g - centre[:, :, None]
    r, n = len(p), g.shape[-1]
    # H of (8): the spread of the gradients within each row, the curvature of the losses, and the cone.
    flat, weight = off.reshape(r, -1, n), (p[..., None] * stiff).reshape(r, -1, 1)
    hessian = h_hessian + (flat * weight).transpose(0, 2, 1) @ flat
    curvature = p[..., None] * z * wrong * (1 - wrong)
    v = np.broadcast_to(pieces.v, (*z.shape, n - 1)).reshape(r, -1, n - 1)
    hessian[:, :-1, :-1] += (v * curvature.reshape(r, -1, 1)).transpose(0, 2, 1) @ v
    hessian += np.einsum("rc,rcn,rcm->rnm", y / -h, h_gradient, h_gradient)
    # r of (8).
    needed = np.einsum("rs,rsk,rskn->rn", p, target, off) + np.einsum("rs,rsn->rn", p, centre)
    needed += np.einsum("rc,rcn->rn", mu[:, None] / -h, h_gradient)
    needed[:, -1] += pieces.budget
    dx = _solved(hessian, -needed)
    # (7), and from it (6); dy is what (5) linearised says of the cone's multipliers.
    ds = (target.sum(-1) - 1) / total + np.einsum("rsn,rn->rs", centre, dx)
    ds = np.where(pieces.valid.any(-1), ds, 0)
    dw = ds[..., None] - np.einsum("rskn,rn->rsk", g, dx)
    dz = np.where(pieces.valid, target - z - stiff * dw, 0)
    dy = mu[:, None] / -h - y + y / -h * np.einsum("rcn,rn->rc", h_gradient, dx)
    # Residuals of (4) and of (3).
    stationary = np.einsum("rs,rsk,rskn->rn", p, z, g) + np.einsum("rc,rcn->rn", y, h_gradient)
    stationary[:, -1] += pieces.budget
    unbalanced = (p * np.abs(z.sum(-1) - 1)).sum(1)
    return dx, ds, dz, dy, np.abs(stationary).max(1) + unbalanced


def _solved(hessian: Array, right: Array) -> Array:
    """Solutions of symmetric systems after scaling their diagonals to 1."""
    scale = 1 / np.sqrt(np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-300))
    scaled = hessian * scale[:, :, None] * scale[:, None] + 1e-15 * np.eye(right.shape[1])
    return scale * np.linalg.solve(scaled, (scale * right)[..., None])[..., 0]


def _room(x: Array, dx: Array) -> Array:
    """(R,) the longest step that keeps x + step dx >= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(dx < 0, -x / dx, np.inf)
    return ratios.reshape(len(x), -1).min(1)


def _inside(
    pieces: Pieces,
    cone: Cone,
    at: tuple[Array, Array, Array],
    step: tuple[Array, Array],
    w: Array,
    h: Array,
    length: Array,
) -> Array:
    """Shorten each step by factors of 0.6 until every slack, lam and -h keep more than 0.5 % of themselves.

    The linearised step alone does not ensure it: the losses are convex, so slacks fall by more than linearly.
    """
    (theta, lam, s), (dx, ds) = at, step
    for _ in range(_HALVINGS):
        new_lam = lam + length * dx[:, -1]
        theta_new = theta + length[:, None] * dx[:, :-1]
        positive = new_lam > 0.005 * lam
        safe = np.where(positive, new_lam, lam)
        new, _ = _slacks(pieces, theta_new, safe, s + length[:, None] * ds)
        new_h = cone(theta_new, safe, np.zeros_like(h))[0]
        good = positive & (new > 0.005 * w).all((1, 2)) & (new_h < 0.005 * h).all(1)
        if good.all():
            break
        length = np.where(good, length, 0.6 * length)
    return length


def price(theta: Array, lam: Array, y: Array) -> tuple[Array, Array, Array]:
    """The cone lam >= 0 alone: h = -lam, its gradient, and y times its Hessian.

    Example:
        >>> price(np.zeros((1, 1)), np.array([2.0]), np.ones((1, 1)))[0].tolist()
        [[-2.0]]
    """
    n = theta.shape[1] + 1
    gradient = np.zeros((len(theta), 1, n))
    gradient[:, 0, -1] = -1
    return -lam[:, None], gradient, np.zeros((len(theta), n, n))


def euclidean(theta: Array, lam: Array, y: Array) -> tuple[Array, Array, Array]:
    """The cone |theta|_2 <= lam as h = |theta|^2 / lam - lam <= 0, its gradient, and y times its Hessian.

    Example: |(3, 4)| = 5, so the point lies on the boundary.
        >>> euclidean(np.array([[3.0, 4.0]]), np.array([5.0]), np.ones((1, 1)))[0].tolist()
        [[0.0]]
    """
    square, d = (theta**2).sum(1), theta.shape[1]
    gradient = np.concatenate([2 * theta / lam[:, None], -(square / lam**2 + 1)[:, None]], 1)
    hessian = np.zeros((len(theta), d + 1, d + 1))
    hessian[:, :d, :d] = 2 / lam[:, None, None] * np.eye(d)
    hessian[:, :d, d] = hessian[:, d, :d] = -2 * theta / lam[:, None] ** 2
    hessian[:, d, d] = 2 * square / lam**3
    return (square / lam - lam)[:, None], gradient[:, None], y[:, :1, None] * hessian


def polyhedral(rows: Array) -> Cone:
    """The cone  max_c <a_c, theta> <= lam  for the rows a_c (C, d).

    Example:
        >>> polyhedral(np.eye(2))(np.array([[3.0, 4.0]]), np.array([5.0]), np.ones((1, 2)))[0].tolist()
        [[-2.0, -1.0]]
    """

    def cone(theta: Array, lam: Array, y: Array) -> tuple[Array, Array, Array]:
        gradient = np.concatenate([rows, -np.ones((len(rows), 1))], 1)
        r, n = len(theta), gradient.shape[1]
        return (
            theta @ rows.T - lam[:, None],
            np.broadcast_to(gradient, (r, *gradient.shape)),
            np.zeros((r, n, n)),
        )

    return cone
