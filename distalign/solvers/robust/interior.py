r"""A primal-dual interior-point method for robust logistic regression, many small problems at once.

    minimise  lam budget + sum_i p_i max_k [ log(1 + exp(-<theta, v_ik>)) - lam c_ik ]   over theta and lam >= 0

and, on R^d, |theta|_* <= lam. Written with s_i for the maxima and slacks w_ik = s_i - f_ik; the multipliers
z_ik of row i are the shares of its mass that go to k, so the dual solution is the worst law itself. The rows'
own variables are eliminated: a step costs one pass over the pieces and a (d+1) x (d+1) system a replicate.

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
        valid: (R, S, K) False for padding.
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
    """theta (R, d), lam (R,), shares z (R, S, K) of each row's mass, and the complementarity gap (R,)
    left.
    """

    theta: Array
    lam: Array
    shares: Array
    gap: Array


def solve(pieces: Pieces, cone: Cone, *, tolerance: float = 1e-12, cautious: bool = False) -> Point:
    """Follow the central path until complementarity falls below `tolerance`; `cautious` takes shorter steps.

    Nothing is promised of the answer: whoever calls computes the value and a lower bound anew.

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
        gap = (pieces.p[..., None] * z * w).sum((1, 2)) - (y * h).sum(1)
        counts = (pieces.p * pieces.valid.sum(-1)).sum(1) + y.shape[1]
        step = _step(
            pieces,
            (wrong, w, z),
            (h, h_gradient, h_hessian, y),
            np.maximum(sigma * gap, tolerance / 10) / counts,
        )
        dx, ds, dz, dy, residual = step
        done |= ((gap < tolerance) & (residual < 1e-10)) | ~np.isfinite(dx).all(1)
        if done.all():
            break
        length = np.where(done, 0, np.minimum(1, longest * np.minimum(_room(z, dz), _room(y, dy))))
        length = _inside(pieces, cone, (theta, lam, s), (dx, ds), w, h, length)
        sigma = np.where(length > 0.9, np.maximum(sigma / 3, floor), np.minimum(2 * sigma, 0.5))
        length = length[:, None]
        move = np.where(done[:, None], 0, length * dx)
        theta, lam = theta + move[:, :d], lam + move[:, d]
        s, y = s + np.where(done[:, None], 0, length * ds), y + np.where(done[:, None], 0, length * dy)
        z = z + np.where(done[:, None, None], 0, length[..., None] * dz)
    return Point(theta, lam, z, gap)


def _slacks(pieces: Pieces, theta: Array, lam: Array, s: Array) -> tuple[Array, Array]:
    """Slacks w (1 at padding) and the chance sigma(-margin) of the wrong answer at each candidate."""
    margins = np.einsum("rskd,rd->rsk", pieces.v, theta)
    w = s[..., None] + lam[:, None, None] * pieces.cost - np.logaddexp(0, -margins)
    return np.where(pieces.valid, np.maximum(w, 1e-18), 1.0), expit(-margins)


def _step(
    pieces: Pieces, rows: tuple[Array, Array, Array], cone: tuple[Array, Array, Array, Array], mu: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Newton's step to complementarity mu: dx = (dtheta, dlam), ds, dz, dy; and the residual of
    stationarity.
    """
    wrong, w, z = rows
    h, h_gradient, h_hessian, y = cone
    p, target = pieces.p, np.where(pieces.valid, mu[:, None, None] / w, 0)
    g = np.concatenate(
        [-wrong[..., None] * pieces.v, np.broadcast_to(-pieces.cost[..., None], (*wrong.shape, 1))], -1
    )
    stiff = z / w
    total = np.where(stiff.sum(-1) > 0, stiff.sum(-1), 1)
    centre = np.einsum("rsk,rskn->rsn", stiff, g) / total[..., None]
    off = g - centre[:, :, None]
    r, n = len(p), g.shape[-1]
    flat, weight = off.reshape(r, -1, n), (p[..., None] * stiff).reshape(r, -1, 1)
    hessian = h_hessian + (flat * weight).transpose(0, 2, 1) @ flat
    curvature = p[..., None] * z * wrong * (1 - wrong)
    v = np.broadcast_to(pieces.v, (*z.shape, n - 1)).reshape(r, -1, n - 1)
    hessian[:, :-1, :-1] += (v * curvature.reshape(r, -1, 1)).transpose(0, 2, 1) @ v
    hessian += np.einsum("rc,rcn,rcm->rnm", y / -h, h_gradient, h_gradient)
    needed = np.einsum("rs,rsk,rskn->rn", p, target, off) + np.einsum("rs,rsn->rn", p, centre)
    needed += np.einsum("rc,rcn->rn", mu[:, None] / -h, h_gradient)
    needed[:, -1] += pieces.budget
    dx = _solved(hessian, -needed)
    ds = (target.sum(-1) - 1) / total + np.einsum("rsn,rn->rs", centre, dx)
    ds = np.where(pieces.valid.any(-1), ds, 0)
    dw = ds[..., None] - np.einsum("rskn,rn->rsk", g, dx)
    dz = np.where(pieces.valid, target - z - stiff * dw, 0)
    dy = mu[:, None] / -h - y + y / -h * np.einsum("rcn,rn->rc", h_gradient, dx)
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
    """Halve steps until every slack keeps at least a hundredth of itself; the losses are convex, so they can
    take more.
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
    """lam >= 0 alone: h = -lam, its gradient, and y times its Hessian.

    Example:
        >>> price(np.zeros((1, 1)), np.array([2.0]), np.ones((1, 1)))[0].tolist()
        [[-2.0]]
    """
    n = theta.shape[1] + 1
    gradient = np.zeros((len(theta), 1, n))
    gradient[:, 0, -1] = -1
    return -lam[:, None], gradient, np.zeros((len(theta), n, n))


def euclidean(theta: Array, lam: Array, y: Array) -> tuple[Array, Array, Array]:
    """|theta|_2 <= lam as h = |theta|^2 / lam - lam <= 0, with gradient and y times Hessian.

    Example:
        >>> euclidean(np.array([[3.0, 4.0]]), np.array([5.0]), np.ones((1, 1)))[0].tolist()  # |(3, 4)| = 5: on the rim
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
    """max_c <a_c, theta> <= lam for the rows a_c (C, d).

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
