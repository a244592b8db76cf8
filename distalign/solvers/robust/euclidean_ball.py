r"""The worst law of a type-2 Wasserstein ball in R^d for the logistic loss, by an inner supremum in one
dimension.

Mass at x gains most by moving along -theta, so only the loss a of margin matters that a move brings. At the
price k of its square, an atom of margin t has the worst loss

    phi(t; k) = max over a >= 0 of  log(1 + exp(a - t)) - k a^2.                                           (1)

Moving by a of margin takes the distance a / |theta|, so a radius rho allows E a^2 <= (rho |theta|)^2, and the
worst expected loss of the ball is

    R(theta) = min over k of  k (rho |theta|)^2 + E_P phi(t; k),   t = <theta, x>.                         (2)

The inner problem. A maximiser a of (1) is a root of

    sigma(a - t) = 2 k a.                                                                                  (3)

sigma is convex where a < t and concave where a > t, with slope at most 1/4. For k >= 1/8 the left side less
the right only falls: one root. For k < 1/8 it falls, rises between the two points where sigma' = 2 k, and
falls again: each falling branch may hold a local maximum of (1), each is searched by itself, and the better
one is taken.

The outer problem. (2) is convex in k, and its minimum is where the budget is spent,

    E_P a(t; k)^2 = (rho |theta|)^2.                                                                       (4)

By (3), sigma(-t) <= 2 k a <= 1, which brackets k between |sigma(-t)| / (2 rho |theta|), with the norm of
L2(P), and 1 / (2 rho |theta|). Newton's method solves (4) for log k as an equation of logarithms, because
E a^2 is nearly a power of k. Where the best branch of some atom changes, E a^2 jumps, and (4) may have no
root: that atom has to be split between two places, which is left to the caller.

Derivatives. By the envelope theorem the gradient of (2) takes k and a as constants,

    grad R = 2 k rho^2 theta - E_P sigma(a - t) x,                                                         (5)

and the Hessian follows by differentiating (3) and (4) as implicit equations for a and k.

Margins are (R, m): leading axes are replicates.

Source: the duality of arXiv 2502.01930, its Lemma 1; the one-dimensional form and its search are ours.
"""

# pyright: reportOperatorIssue=false
# scipy's stubs give some special functions a tuple for a result.

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_expit, logsumexp

from distalign.solvers.robust.collapse import second_moments
from distalign.types import Array

_ROUNDS = 200


def worst_moves(t: Array, k: Array) -> tuple[Array, Array, Array]:
    """The worst loss phi of each atom and the move that attains it, (1), for margins t and prices k.

    Args:
        t: (R, m) margins.
        k: (R,) prices, above 0; infinite where nothing moves.

    Returns:
        phi, its maximiser a, and the other local maximiser (a again where there is none), each (R, m).

    Example: sigma(a) = a / 2.
        >>> phi, a, _ = worst_moves(np.zeros((1, 1)), np.array([0.25]))
        >>> round(a.item(), 4), round(phi.item(), 4)
        (1.6879, 1.1453)
    """
    still = np.isinf(k)
    k = np.where(still, 1.0, k)
    a = np.zeros_like(t)
    other = np.full_like(t, np.nan)
    # One root of (3), at most 1 / (2 k).
    rows = np.flatnonzero(~still & (k >= 1 / 8))
    a[rows] = _root(
        t[rows], k[rows, None], np.zeros_like(t[rows]), np.tile(1 / (2 * k[rows, None]), t.shape[1])
    )
    # Two falling branches of (3), below and above the stretch on which sigma' > 2 k.
    rows = np.flatnonzero(k < 1 / 8)
    if len(rows):
        t_low, k_low = t[rows], k[rows, None]
        bend = 2 * np.arctanh(np.sqrt(1 - 8 * k_low))  # sigma'(+-bend) = 2 k
        near = _root(t_low, k_low, np.zeros_like(t_low), np.maximum(t_low - bend, 0))
        far = _root(t_low, k_low, np.maximum(t_low + bend, 0), np.maximum(1 / (2 * k_low), t_low + bend))
        gains = [np.logaddexp(0, b - t_low) - k_low * b**2 for b in (near, far)]
        a[rows] = np.where(gains[1] > gains[0], far, near)
        other[rows] = np.where(gains[1] > gains[0], near, far)
    return np.logaddexp(0, a - t) - k[:, None] * a**2, a, np.where(np.isnan(other), a, other)


def _root(t: Array, k: Array, low: Array, high: Array) -> Array:
    """The root of (3) on [low, high], where sigma(a - t) - 2 k a falls, by Newton's method with bisection.

    Where the difference has one sign on the whole interval, the end at which it is nearest to 0 is returned.
    """
    low, high = (
        np.where(expit(high - t) - 2 * k * high > 0, high, low),
        np.where(expit(low - t) - 2 * k * low < 0, low, high),
    )
    a = np.clip(expit(low - t) / (2 * k), low, high)
    for _ in range(_ROUNDS):
        s = expit(a - t)
        excess = s - 2 * k * a
        low, high = (
            np.where(excess >= 0, np.maximum(a, low), low),
            np.where(excess <= 0, np.minimum(a, high), high),
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = a + excess / (2 * k - s * (1 - s))
        new = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        if (np.abs(new - a) <= 2e-15 * (1 + np.abs(a))).all():
            break
        a = new
    return a


def ball(theta: Array, x: Array, laws: Array, rho: float) -> tuple[Array, Array, Array]:
    """The robust loss (2), its price k and the moves a of (4); at theta = 0 the loss is log 2.

    Where E a^2 jumps past the value that (4) asks for, some atom must be split between its two local maxima,
    and a is one of the two.

    Args:
        theta: (R, d) parameters.
        x: (m, d) atoms.
        laws: (R, m) laws P.
        rho: radius, in units of |x|_2, above 0.

    Returns:
        (R,) losses, (R,) prices and (R, m) moves, in units of margin.

    Example: one atom of margin 0 moves by 1, and its loss is log(1 + e).
        >>> loss, _, a = ball(np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), 1.0)
        >>> round(loss.item(), 4), round(a.item(), 4)
        (1.3133, 1.0)
    """
    t, reach = theta @ x.T, rho * np.linalg.norm(theta, axis=1)
    moving = reach > 0
    reach = np.where(moving, reach, 1)
    # The bracket of (4), in log k: `rough` is the logarithm of |sigma(-t)| in L2(P).
    rough = logsumexp(2 * log_expit(-t), b=laws, axis=1) / 2
    low = np.maximum(rough, -300) - np.log(2 * reach)
    high, z, last = -np.log(2 * reach), low, np.full(len(t), np.inf)
    for _ in range(_ROUNDS):
        k = np.exp(z)
        _, a, _ = worst_moves(t, k)
        s = expit(a - t)
        spent = (laws * a**2).sum(1)
        excess = np.log(spent) - 2 * np.log(reach)
        # By (3), da/dk = -2 a / (2 k - s (1 - s)) where s = sigma(a - t).
        slope = -4 * k * (laws * a**2 / np.maximum(2 * k[:, None] - s * (1 - s), 1e-300)).sum(1) / spent
        low, high = (
            np.where(excess >= 0, np.maximum(z, low), low),
            np.where(excess <= 0, np.minimum(z, high), high),
        )
        newton = z - excess / slope
        # Where E a^2 jumps, Newton's steps are small and lead nowhere: then the bracket is halved.
        good = (newton >= low) & (newton <= high) & (np.abs(excess) <= 0.5 * last)
        new, last = np.where(good, newton, (low + high) / 2), np.abs(excess)
        if (np.abs(new - z) <= 1e-14 * (1 + np.abs(z))).all():
            break
        z = new
    k = np.exp(z)
    phi, a, _ = worst_moves(t, k)
    return np.where(moving, k * reach**2 + (laws * phi).sum(1), np.log(2)), k, a


def ball_derivatives(theta: Array, x: Array, laws: Array, rho: float) -> tuple[Array, Array, Array]:
    """Value, gradient (5) and Hessian of the robust loss (2); the price is an implicit function of theta.

    The arguments are those of `ball`.

    Example: log(1 + e^theta).
        >>> loss, gradient, _ = ball_derivatives(np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), 1.0)
        >>> round(loss.item(), 4), round(gradient.item(), 4)
        (1.3133, 0.7311)
    """
    robust, k, a = ball(theta, x, laws, rho)
    # Where an atom must be split, the price is no smooth function of theta. A gradient of 0 ends Newton's
    # method there, and constraint generation takes over.
    split = np.abs((laws * a**2).sum(1) / (rho**2 * (theta**2).sum(1)) - 1) > 1e-6
    s = expit(a - theta @ x.T)
    bend = s * (1 - s)
    stiff = np.maximum(2 * k[:, None] - bend, 1e-12)
    gradient = 2 * (k * rho**2)[:, None] * theta - (laws * s) @ x
    hessian = 2 * (k * rho**2)[:, None, None] * np.eye(theta.shape[1])
    hessian = hessian + second_moments(laws * 2 * k[:, None] * bend / stiff, x)
    mixed = 2 * rho**2 * theta + (laws * 2 * a * bend / stiff) @ x
    own = (laws * 4 * a**2 / stiff).sum(1)
    return (
        robust,
        np.where(split[:, None], 0, gradient),
        hessian - mixed[:, :, None] * mixed[:, None] / own[:, None, None],
    )


def penalised_derivatives(theta: Array, x: Array, laws: Array, cost: float) -> tuple[Array, Array, Array]:
    """Value, gradient and Hessian of the penalised robust loss  E_P phi(t; k),  k = cost / |theta|^2.

    Args:
        theta: (R, d) parameters, none of them 0.
        x: (m, d) atoms.
        laws: (R, m) laws P.
        cost: price of a unit of squared distance, above 0.

    Example:
        >>> one = np.ones((1, 1))
        >>> loss, gradient, _ = penalised_derivatives(one, np.zeros((1, 1)), one, 0.25)
        >>> round(loss.item(), 4), round(gradient.item(), 4)
        (1.1453, 1.4245)
    """
    size = (theta**2).sum(1)
    k = cost / size
    phi, a, _ = worst_moves(theta @ x.T, k)
    s = expit(a - theta @ x.T)
    bend = s * (1 - s)
    stiff = np.maximum(2 * k[:, None] - bend, 1e-12)
    square = (laws * a**2).sum(1)
    slope = -2 * (k / size)[:, None] * theta  # of k in theta
    gradient = -(laws * s) @ x - square[:, None] * slope
    cross = ((laws * 2 * a * bend / stiff) @ x)[:, :, None] * slope[:, None]
    outer = slope[:, :, None] * slope[:, None]
    hessian = second_moments(laws * 2 * k[:, None] * bend / stiff, x) + cross + cross.transpose(0, 2, 1)
    hessian += (laws * 4 * a**2 / stiff).sum(1)[:, None, None] * outer
    bow = 2 * outer / k[:, None, None] - 2 * (k / size)[:, None, None] * np.eye(theta.shape[1])
    return (laws * phi).sum(1), gradient, hessian - square[:, None, None] * bow
