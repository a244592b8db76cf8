r"""WDPO of order 2 where features may move anywhere in R^d, exactly: Newton's method in theta.

The worst move of an atom is along -theta, so the worst law is found in one dimension. With the margin
t = beta <theta, v>, the loss a of margin that the move brings, and the price k = eta / (beta |theta|)^2 of
its square,

    sup { E_Q l : W_2(Q, P) <= radius } = min over k of  k (radius beta |theta|)^2 + E_P phi(t; k),        (1)
    phi(t; k) = max over a >= 0 of  log(1 + exp(a - t)) - k a^2.                                           (2)

`distalign.solvers.robust.euclidean_ball` solves both and gives the gradient and the Hessian of (1) in theta.
The fit is certified by the plain loss under the worst law found, minimised over theta anew: a lower bound.

Where the worst law splits an atom between two places, (1) is not smooth. That happens for large margins and
small radii, as in nearly separable samples. Newton's method is then replaced by constraint generation over
points of R^d: a program like that of `distalign.solvers.robust.wasserstein_finite`, whose points are the
atoms and, round after round, both local maximisers of (2) for each atom. Leading axes are replicates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from distalign.arguments import POSITIVE, REAL, checked
from distalign.checks import InputError, moderate, positive, reals
from distalign.solvers.batched_newton import batched_newton
from distalign.solvers.robust import interior
from distalign.solvers.robust.collapse import atoms_and_laws, euclidean_collapse_radius, warn_of_collapse
from distalign.solvers.robust.euclidean_ball import ball, ball_derivatives, penalised_derivatives, worst_moves
from distalign.solvers.robust.wasserstein_fit import CERTIFIED, WassersteinFit, finished, least_loss
from distalign.types import Array

_Rows = NDArray[np.intp]

_GENERATIONS, _STILL = 60, 10  # rounds at most, and those that better neither bound


@checked(theta=REAL.each, radius=POSITIVE, beta=POSITIVE)
def robust_loss(theta: ArrayLike, v: ArrayLike, p: ArrayLike, *, radius: float, beta: float = 1.0) -> Array:
    r"""The robust loss  sup { E_Q l : W_2(Q, P) <= radius }  over laws Q on R^d, at given parameters.

    Args:
        theta: (R, d) or (d,) parameters, measured from the reference policy's.
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        radius: radius, in units of |v|_2, above 0.
        beta: scale of the margin, above 0.

    Returns:
        (R,) robust losses.

    Raises:
        InputError: the shapes do not fit, or radius or beta is not above 0.

    Source: arXiv 2502.01930, its Wasserstein duality; the one-dimensional form is ours.

    Example: one atom moves by exactly the radius.
        >>> round(robust_loss([2.0], [[1.0]], [1.0], radius=0.5).item(), 6)
        0.313262
    """
    positive(
        "radius",
        radius,
        "it is the largest transport distance, in units of |v|_2, of the laws to be robust against",
    )
    x, laws, theta = _arrays(theta, v, p, beta)
    return ball(theta, x, laws, radius * beta)[0]


def penalised_robust_loss(
    theta: ArrayLike, v: ArrayLike, p: ArrayLike, *, eta: float, beta: float = 1.0
) -> Array:
    r"""The penalised robust loss: the supremum over laws Q on R^d of  E_Q l - eta W_2(Q, P)^2.

    Args:
        theta: (R, d) or (d,) parameters, measured from the reference policy's.
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        eta: price of a unit of squared distance, above 0.
        beta: scale of the margin, above 0.

    Returns:
        (R,) penalised robust losses.

    Raises:
        InputError: the shapes do not fit, or eta or beta is not above 0.

    Source: arXiv 2502.01930, its Wasserstein duality; the one-dimensional form is ours.

    Example:
        >>> for eta in (0.25, 1e9):
        ...     round(penalised_robust_loss([1.0], [[0.0]], [1.0], eta=eta).item(), 4)
        1.1453
        0.6931
    """
    positive("eta", eta, "it is the price of a unit of squared distance")
    x, laws, theta = _arrays(theta, v, p, beta)
    return (laws * worst_moves(theta @ x.T, _prices(theta, eta / beta**2))[0]).sum(1)


def fit_euclidean(v: ArrayLike, p: ArrayLike, *, radius: float, beta: float = 1.0) -> WassersteinFit:
    r"""argmin over theta of  sup { E_Q l : W_2(Q, P) <= radius }  with Q on R^d, for many laws P.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        radius: radius, in units of |v|_2, above 0.
        beta: scale of the margin, above 0.

    Returns:
        `worst_case` is (R, m), the distance by which each atom moves along -theta/|theta|; where the optimum
        is the reference policy it is NaN: there all atoms move by -E_P v.

    Raises:
        InputError: the shapes do not fit, or radius or beta is not above 0.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: arXiv 2502.01930, WDPO on its log-linear class; Newton's method on the one-dimensional form is
        ours.

    Example:
        >>> found = fit_euclidean([[1.0], [-1.0]], [0.9, 0.1], radius=0.1)
        >>> found.theta.round(4).tolist(), found.status.tolist()
        ([[1.9152]], ['certified'])
    """
    positive(
        "radius",
        radius,
        "it is the largest transport distance, in units of |v|_2, of the laws to be robust against",
    )
    x, laws = atoms_and_laws(v, p, beta)
    moderate("radius", radius, "take other units of the features")
    rho = radius * beta
    mean = laws @ x
    collapsed = np.linalg.norm(mean, axis=1) <= rho
    if collapsed.all():
        warn_of_collapse(p, radius, euclidean_collapse_radius(v, p, order=2))
    theta, price, moved = np.zeros_like(mean), np.zeros(len(laws)), np.full(laws.shape, np.nan)
    upper, lower = np.full(len(laws), np.log(2)), np.full(len(laws), np.log(2))
    rows = np.flatnonzero(~collapsed)
    if len(rows):
        active = laws[rows]

        def robust(at: Array, which: _Rows) -> tuple[Array, Array, Array]:
            return ball_derivatives(at, x, active[which], rho)

        theta[rows] = batched_newton(robust, _start(x, active, lambda at: _rough(at, x, active, rho))).x
        upper[rows], k, a = ball(theta[rows], x, active, rho)
        size = np.linalg.norm(theta[rows], axis=1)
        a *= np.minimum(1, rho * size / np.sqrt((active * a**2).sum(1)))[:, None]
        lower[rows] = least_loss(_moved(theta[rows], x, a), active, theta[rows])
        price[rows], moved[rows] = k * size**2 * beta**2, a / (size * beta)[:, None]
    for row in np.flatnonzero(~(upper - lower <= CERTIFIED)):
        theta[row], upper[row], lower[row], eta, distance = _generate(x, laws[row], rho, theta[row])
        price[row], moved[row] = eta * beta**2, distance / beta
    return finished(theta, upper, lower, price, moved)


def fit_euclidean_penalised(v: ArrayLike, p: ArrayLike, *, eta: float, beta: float = 1.0) -> WassersteinFit:
    r"""argmin over theta of  sup over Q of  E_Q l - eta W_2(Q, P)^2,  for many laws P.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        eta: price of a unit of squared distance, above 0.
        beta: scale of the margin, above 0.

    Returns:
        `worst_case` as in `fit_euclidean`; its root mean square is the radius of the ball with the same
        solution.

    Raises:
        InputError: the shapes do not fit, or eta or beta is not above 0.

    Source: ours, on arXiv 2502.01930's Wasserstein duality.

    Example:
        >>> v, p = [[1.0], [-1.0]], [0.9, 0.1]
        >>> ball = fit_euclidean(v, p, radius=0.1)
        >>> bool(np.allclose(fit_euclidean_penalised(v, p, eta=ball.multiplier.item()).theta, ball.theta))
        True
    """
    positive("eta", eta, "it is the price of a unit of squared distance")
    x, laws = atoms_and_laws(v, p, beta)
    cost = eta / beta**2
    moderate("eta over beta squared", cost, "take other units of the features")

    def robust(at: Array, which: _Rows) -> tuple[Array, Array, Array]:
        return penalised_derivatives(at, x, laws[which], cost)

    theta = batched_newton(
        robust, _start(x, laws, lambda at: (laws * worst_moves(at @ x.T, _prices(at, cost))[0]).sum(1))
    ).x
    worst, a, _ = worst_moves(theta @ x.T, _prices(theta, cost))
    size = np.linalg.norm(theta, axis=1)
    paid = cost * (laws * a**2).sum(1) / size**2
    lower = least_loss(_moved(theta, x, a), laws, theta) - paid
    return finished(
        theta, (laws * worst).sum(1), lower, np.full(len(laws), float(eta)), a / (size * beta)[:, None]
    )


def _arrays(theta: ArrayLike, v: ArrayLike, p: ArrayLike, beta: float) -> tuple[Array, Array, Array]:
    """beta times v, (m, d), with the laws (R, m) and theta (R, d), which are broadcast."""
    x, laws = atoms_and_laws(v, p, beta)
    theta = np.atleast_2d(reals("theta", theta, "(..., d)", "give parameters measured from the reference's"))
    if theta.shape[1] != x.shape[1] or (1 not in (len(theta), len(laws)) and len(theta) != len(laws)):
        raise InputError(
            f"theta must be (d,) or (R, d) with d = {x.shape[1]} and R = {len(laws)}, got {theta.shape}"
        )
    r = max(len(theta), len(laws))
    return x, np.broadcast_to(laws, (r, laws.shape[1])), np.broadcast_to(theta, (r, theta.shape[1]))


def _prices(theta: Array, cost: float) -> Array:
    """The prices k = cost / |theta|^2, infinite at theta = 0, where nothing is gained by moving."""
    with np.errstate(divide="ignore"):
        return cost / (theta**2).sum(1)


def _moved(theta: Array, x: Array, a: Array) -> Array:
    """The atoms, (R, m, d), after each lost the margin a by moving along -theta."""
    return x - (a / np.maximum((theta**2).sum(1, keepdims=True), 1e-300))[..., None] * theta[:, None]


def _start(x: Array, laws: Array, robust: Callable[[Array], Array]) -> Array:
    """The best multiple of E_P v, along which the robust loss falls from theta = 0."""
    mean = laws @ x
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    candidates = np.stack([scale * unit / np.abs(x).max() for scale in 2.0 ** np.arange(5, -20, -1)])
    return candidates[np.argmin([robust(c) for c in candidates], 0), np.arange(len(laws))]


def _rough(theta: Array, x: Array, laws: Array, rho: float) -> Array:
    """An upper bound of the robust loss, exact to first order in rho.

    It is  E l + rho sqrt(E |grad l|^2) + rho^2 |theta|^2 / 8.
    """
    t, size = theta @ x.T, np.linalg.norm(theta, axis=1)
    slope = np.sqrt((laws * expit(-t) ** 2).sum(1))
    return (laws * np.logaddexp(0, -t)).sum(1) + rho * size * slope + (rho * size) ** 2 / 8


def _generate(x: Array, law: Array, rho: float, start: Array) -> tuple[Array, float, float, float, Array]:
    """The fit of one law by constraint generation over points of R^d, where an atom may be split.

    The points are the atoms themselves and, round after round, both local maximisers of (2) for each atom.

    Returns:
        theta, the upper and the lower bound, the price, and the root mean square distance that each atom
        moves.
    """
    points, upper, lower = np.repeat(x[:, None], 2, 1), np.inf, -np.inf
    theta, price, distance = start, 1.0, np.zeros(len(x))
    k = np.array([float(ball(start[None], x, law[None], rho)[1][0])])
    still = 0
    for _ in range(_GENERATIONS):
        _, *moves = worst_moves(start[None] @ x.T, k)
        points = np.concatenate([points, *(_moved(start[None], x, a)[0][:, None] for a in moves)], 1)
        cost = ((points - x[:, None]) ** 2).sum(2)
        valid = np.broadcast_to((law > 0)[:, None], cost.shape)[None]
        point = interior.solve(
            interior.Pieces(points[None], cost[None], valid, law[None], rho**2), interior.price
        )
        shares = np.clip(point.shares[0], 0, None)
        mass = law[:, None] * shares / np.maximum(shares.sum(1, keepdims=True), 1e-300)
        fraction = min(1, rho**2 / (mass * cost).sum())
        mass = fraction * mass
        mass[:, 0] += (1 - fraction) * law
        start = point.theta[0]
        robust_loss, bound = (
            float(ball(start[None], x, law[None], rho)[0][0]),
            float(least_loss(points.reshape(1, -1, x.shape[1]), mass.reshape(1, -1), start[None])[0]),
        )
        better = robust_loss < upper - CERTIFIED / 100 or bound > lower + CERTIFIED / 100
        still = 0 if better else still + 1
        if robust_loss < upper:
            upper, theta, price = robust_loss, start, float(point.lam[0])
        if bound > lower:
            lower, distance = bound, np.sqrt((mass * cost).sum(1) / np.where(law > 0, law, 1))
        if upper - lower <= CERTIFIED / 10 or still >= _STILL:
            break
        k = point.lam / max(float(start @ start), 1e-300)
    return theta, upper, lower, price, distance
