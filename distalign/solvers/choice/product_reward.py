"""The Bradley-Terry reward of thousands of alternatives drawn independently: Newton's method with conjugate
gradients.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from distalign.types import Array

_ROWS = 32  # of the win matrix at a time: 2,000 columns of them stay in the cache


def product_reward(win: Array, mu: Array) -> tuple[Array, float] | None:
    r"""The maximiser of  sum_{x, y} mu(x) mu(y) P(x, y) log sigma(r(x) - r(y)),  with a certificate.

    The certificate bounds the length of the next Newton step. A Newton step d solves  d = g / D + T d  with
    the gradient g, D(x) = mu(x) sum_y mu(y) sigma'(r(x) - r(y)) and the stochastic matrix  T(x, y) = mu(x)
    mu(y) sigma'(r(x) - r(y)) / D(x). Two rows of T share at least the mass a = sum_y min_x T(x, y), so that
    range(T d) <= (1 - a) range(d)  and  range(d) <= range(g / D) / a:  the certificate, which needs no linear
    solver to be right. Because T contracts the range in this way, a few conjugate gradients suffice.

    Args:
        win: (m, m) P(x preferred to y).
        mu: (m,) positive probabilities.

    Returns:
        Rewards of mean 0 in logits, and the bound above; None where the method does not converge, as for
        rewards tens of logits apart.

    Source: ours; Newton's method with conjugate gradients is standard.

    Example:
        >>> found = product_reward(np.array([[0.5, 0.75], [0.25, 0.5]]), np.array([0.5, 0.5]))
        >>> bool(abs(found[0] - np.log(3) * np.array([0.5, -0.5])).max() < 1e-9)
        True
    """
    r = logit(np.clip(win @ mu, 1e-6, 1 - 1e-6))
    squares = np.empty_like(win)
    for _ in range(30):
        r -= (r.max() + r.min()) / 2
        if np.ptp(r) > 40:
            return None
        gradient, slope = _at(r, win, mu, squares)
        change = float(np.ptp(gradient / slope))
        if change <= 1e-9:
            certificate = change / _shared_mass(r, slope, mu, squares)
            if certificate <= 1e-9:
                return r - r.mean(), certificate
        step = _newton_step(squares, mu * np.exp(r), mu * gradient)
        size = float(np.ptp(step))
        r = r + step * (np.log1p(size) / size if size > 1 else 1)
    return None


def _at(r: Array, win: Array, mu: Array, squares: Array) -> tuple[Array, Array]:
    """The gradient g / mu and the diagonal D / mu at the rewards r.

    `squares` is filled with  1 / (e^r(x) + e^r(y))^2  off the diagonal. With these,
    sigma'(r(x) - r(y)) = e^r(x) e^r(y) squares(x, y),  which costs one division for each pair and no
    exponential.
    """
    size, a = len(r), np.exp(r)
    won, lost, slope, room = np.empty(size), np.zeros(size), np.empty(size), np.empty((_ROWS, size))
    for start in range(0, size, _ROWS):
        rows = np.arange(start, min(start + _ROWS, size))
        t = np.add(a[rows, None], a, out=room[: len(rows)])
        np.divide(1, t, out=t)
        square = np.square(t, out=squares[rows[0] : rows[-1] + 1])
        t *= win[rows[0] : rows[-1] + 1]
        t[rows - start, rows] = 0  # an alternative against itself carries no information
        won[rows] = t @ (mu * a)
        lost += mu[rows] @ t
        slope[rows] = a[rows] * (square @ (mu * a))
        square[rows - start, rows] = 0
    return won - a * lost, slope


def _shared_mass(r: Array, slope: Array, mu: Array, squares: Array) -> float:
    """The mass a that any two rows of T share at the rewards r for which `_at` found the other arrays."""
    a, least = np.exp(r), np.full(len(r), np.inf)
    share = a / slope
    for start in range(0, len(r), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(r)))
        mass = share[rows, None] * squares[rows[0] : rows[-1] + 1]
        mass[rows - start, rows] = share[rows] / (2 * a[rows]) ** 2  # `squares` has 0 there
        np.minimum(least, mass.min(0), out=least)
    return float(least @ (mu * a))


def _newton_step(squares: Array, weight: Array, gradient: Array) -> Array:
    """The Newton step by conjugate gradients, stopped at 1e-4 of the gradient.

    The system is the Laplacian of the graph of weights  weight weight' squares,  scaled by its diagonal.
    """
    scale = 1 / np.sqrt(weight * (squares @ weight))
    inner = weight * scale
    step, residual = np.zeros(len(scale)), scale * gradient
    direction, norm = residual.copy(), float(residual @ residual)
    goal = 1e-8 * norm
    for _ in range(200):
        if norm <= goal:
            break
        applied = direction - inner * (squares @ (inner * direction))
        length = norm / float(direction @ applied)
        step, residual = step + length * direction, residual - length * applied
        norm, before = float(residual @ residual), norm
        direction = residual + norm / before * direction
    return scale * step
