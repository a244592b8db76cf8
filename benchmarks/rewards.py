"""The win matrix and the Bradley-Terry reward of 2,000 alternatives.

The win matrix of 64 types takes 64 logistic functions of every pair. Fair rivals: `torch.sigmoid` in tiles
that stay in the cache, and numpy's a / (a + b) on one triangle, a = e^(T u). The reward's: L-BFGS-B from the
logit of the Borda score, in units in which the likelihood's Hessian has diagonal 1, and a Newton method
whose steps are found by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit

from benchmarks.populations import TEMPERATURE, TYPES, population
from benchmarks.timing import Rival, Work
from distalign.populations import win_matrix
from distalign.solvers.choice.reward import reward_mle
from distalign.types import Array

SIZE, TILE = 2000, 250


def works() -> Iterator[Work]:
    """The matrix and the reward."""
    utilities, win = population(SIZE)
    weights = np.full(TYPES, 1 / TYPES)
    yield Work(
        f"win matrix, {TYPES} types, m = {SIZE:,}",
        lambda: win_matrix(utilities, weights, TEMPERATURE),
        [
            Rival("torch.sigmoid in tiles", lambda: tiled_sigmoid(utilities)),
            Rival("numpy a / (a + b) on one triangle", lambda: triangle(utilities)),
            Rival("scipy expit of every pair", lambda: every_pair(utilities), "popular", repeats=2),
        ],
        goal=1.5,
        same=1e-12,
        repeats=3,
    )
    mu = np.random.default_rng(1).dirichlet(np.full(SIZE, 5.0))
    yield Work(
        f"Bradley-Terry reward, m = {SIZE:,}",
        lambda: reward_mle(win, mu).reward,
        [
            Rival("scipy L-BFGS-B from logit Borda, scaled", lambda: scaled_lbfgs(win, mu)),
            Rival("numpy Newton by conjugate gradients", lambda: newton_cg(win, mu)),
            Rival("scipy L-BFGS-B from 0", lambda: plain_lbfgs(win, mu), "popular", repeats=1),
        ],
        goal=4,
        same=1e-6,
        repeats=3,
        certificate=lambda: reward_mle(win, mu).certificate,
    )


def tiled_sigmoid(utilities: Array) -> Array:
    """Sum over types of sigma(T (u_x - u_y)), tile by tile."""
    u = torch.from_numpy(TEMPERATURE * utilities)
    out = torch.empty(SIZE, SIZE, dtype=torch.float64)
    for i in range(0, SIZE, TILE):
        for j in range(0, SIZE, TILE):
            tile = torch.zeros(TILE, TILE, dtype=torch.float64)
            for row in u:
                tile += torch.sigmoid(row[i : i + TILE, None] - row[j : j + TILE])
            out[i : i + TILE, j : j + TILE] = tile / TYPES
    return out.numpy()


def triangle(utilities: Array) -> Array:
    """P(x, y) = mean of a_x / (a_x + a_y) above the diagonal, 1 - P below; in tiles for the cache."""
    a, out, one = np.exp(TEMPERATURE * utilities), np.empty((SIZE, SIZE)), np.empty((TILE // 2, TILE))
    for i in range(0, SIZE, TILE // 2):
        for j in range(i // TILE * TILE, SIZE, TILE):
            rows, columns = slice(i, i + TILE // 2), slice(j, j + TILE)
            tile = np.zeros_like(one)
            for weight in a:
                np.add(weight[rows, None], weight[columns], out=one)
                np.divide(weight[rows, None], one, out=one)
                tile += one
            tile /= TYPES
            out[rows, columns], out[columns, rows] = tile, 1 - tile.T
    return out


def every_pair(utilities: Array) -> Array:
    """The logistic function of every pair."""
    total = np.zeros((SIZE, SIZE))
    for logits in TEMPERATURE * utilities:
        total += expit(logits[:, None] - logits)
    return total / TYPES


def _likelihood(win: Array, mu: Array, r: Array) -> tuple[float, Array]:
    d = r[:, None] - r
    e = np.exp(-np.abs(d))
    value = float(mu @ (win * (np.log1p(e) + np.maximum(-d, 0))) @ mu)
    residual = win - np.where(d > 0, 1, e) / (1 + e)
    np.fill_diagonal(residual, 0)
    return value, -mu * (residual @ mu)


def _borda(win: Array, mu: Array) -> Array:
    return 1.6 * logit(np.clip(win @ mu, 1e-6, 1 - 1e-6))


def scaled_lbfgs(win: Array, mu: Array) -> Array:
    """L-BFGS-B in r sqrt(mu), from the logit of the Borda score."""
    scale = 1 / np.sqrt(mu * 0.15)

    def loss(z: Array) -> tuple[float, Array]:
        value, gradient = _likelihood(win, mu, z * scale)
        return value, gradient * scale

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 20}
    r = scale * minimize(loss, _borda(win, mu) / scale, jac=True, method="L-BFGS-B", options=options).x
    return r - r.mean()


def plain_lbfgs(win: Array, mu: Array) -> Array:
    """L-BFGS-B from 0."""
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-16, "gtol": 1e-10}
    r = minimize(
        lambda r: _likelihood(win, mu, r), np.zeros(SIZE), jac=True, method="L-BFGS-B", options=options
    ).x
    return r - r.mean()


def newton_cg(win: Array, mu: Array) -> Array:
    """Newton's method; the Laplacian system by conjugate gradients, scaled by its diagonal."""
    r = _borda(win, mu)
    for _ in range(30):
        s = expit(r[:, None] - r)
        gradient = mu * ((s - win) @ mu - np.diagonal(s - win) * mu)
        s *= 1 - s
        s *= mu
        np.fill_diagonal(s, 0)
        degree = mu * s.sum(1)
        x, residual = np.zeros(SIZE), -gradient
        z = residual / degree
        direction, rho = z, residual @ z
        for _ in range(100):
            h = degree * direction - mu * (s @ direction)
            a = rho / (direction @ h)
            x, residual = x + a * direction, residual - a * h
            z = residual / degree
            last, rho = rho, residual @ z
            if rho < 1e-24:
                break
            direction = z + rho / last * direction
        r = r + x
        if np.ptp(x) < 1e-9:
            break
    return r - r.mean()
