"""The result of a Wasserstein-robust fit, its certificate, and the checks of its inputs.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from distalign.checks import InputError, laws, moderate, positive, reals
from distalign.solvers.batched_newton import batched_newton
from distalign.types import Array

CERTIFIED = 1e-9  # largest gap that counts as solved
_AT_REFERENCE = 1e-11  # a lower bound this close to log 2 proves the reference policy optimal


@dataclass(frozen=True)
class WassersteinFit:
    """Robust fits, one a replicate, with a lower bound of the optimum beside each value.

    Attributes:
        theta: (R, d) minimisers, measured from the reference policy's parameter; NaN where not certified.
        value: (R,) the robust loss at theta, computed anew as a dual function: an upper bound of the optimum.
        dual_value: (R,) min over theta of E_Q l for one law Q of the ball (or a limit of such): a lower bound
            of it.
        multiplier: (R,) price eta of one unit of radius**order, in units of loss.
        worst_case: the least favourable law, in the form that the solver's docstring gives.
        gap: (R,) value - dual_value.
        status: (R,) "certified" (gap at most 1e-9), "collapsed" (certified, and theta = 0), or "failed"
            (theta is NaN).
    """

    theta: Array
    value: Array
    dual_value: Array
    multiplier: Array
    worst_case: Array
    gap: Array
    status: NDArray[np.str_]

    @property
    def solved(self) -> NDArray[np.bool_]:
        """(R,) whether the numbers are certified."""
        return self.status != "failed"

    @property
    def collapsed(self) -> NDArray[np.bool_]:
        """(R,) whether the robust optimum is the reference policy itself."""
        return self.status == "collapsed"


def finished(
    theta: Array, value: Array, dual_value: Array, multiplier: Array, worst_case: Array
) -> WassersteinFit:
    """The fits with their status, which the gap decides.

    theta becomes 0 where that is proved optimal, and NaN where nothing is proved.

    Example:
        >>> half, one = np.array([0.5]), np.ones((1, 1))
        >>> finished(one, half, half, np.ones(1), one).status.tolist()
        ['certified']
    """
    at_reference = dual_value >= np.log(2) - _AT_REFERENCE
    value = np.where(at_reference, np.log(2), value)
    gap = value - dual_value
    failed = ~(np.abs(gap) <= CERTIFIED)  # a lower bound above the value is a failure, too
    theta = np.where(failed[:, None], np.nan, np.where(at_reference[:, None], 0.0, theta))
    status = np.where(failed, "failed", np.where(at_reference, "collapsed", "certified"))
    return WassersteinFit(theta, value, dual_value, multiplier, worst_case, gap, status)


def least_loss(x: Array, law: Array, start: Array) -> Array:
    """min over theta of E_Q l, which is a lower bound of the robust optimum for any law Q of the ball.

    Args:
        x: (N, d) points, or (R, N, d) points of each law.
        law: (R, N) laws Q on them.
        start: (R, d) where Newton's method starts.

    Returns:
        (R,) minima; minus infinity, the bound that says nothing, where Newton's method fails.

    Example: log 2.
        >>> round(least_loss(np.array([[1.0], [-1.0]]), np.array([[0.5, 0.5]]), np.ones((1, 1))).item(), 6)
        0.693147
    """
    points = np.broadcast_to(x, (len(law), *x.shape[-2:]))

    def loss(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        here, q = points[rows], law[rows]
        margins = (here @ theta[..., None])[..., 0]
        wrong = expit(-margins)
        weighted = here * (q * wrong * (1 - wrong))[..., None]
        gradient = -((q * wrong)[:, None] @ here)[:, 0]
        return (q * np.logaddexp(0, -margins)).sum(1), gradient, weighted.transpose(0, 2, 1) @ here

    minima = batched_newton(loss, start)
    return np.where(minima.solved, loss(minima.x, np.arange(len(law)))[0], -np.inf)


def checked_ball(p: ArrayLike, cost: ArrayLike, radius: float, order: float) -> Array:
    """The (m, m) cost matrix after the checks that a Wasserstein ball needs.

    Raises:
        InputError: `cost` has the wrong shape, negative or infinite entries, a non-zero diagonal or no
            symmetry; order below 1; radius not above 0; or p is no law.

    Example:
        >>> checked_ball([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], radius=0.1, order=1.0).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    p = laws("p", p, "(..., m)")
    positive(
        "radius",
        radius,
        "it is the largest transport distance, in the units of the metric, of the laws to be robust "
        "against; a ball of radius 0 holds the law itself alone: minimise the plain loss",
    )
    cost = checked_cost(p.shape[-1], cost, order)
    moderate("radius", radius, "take other units of the metric")
    if not 1e-100 <= np.power(float(radius), order) <= 1e100:
        raise InputError(
            f"radius {radius!r} to the power order {order!r} must lie between 1e-100 and 1e100: take other "
            "units of the metric, or a lower order"
        )
    return cost


def checked_cost(m: int, cost: ArrayLike, order: float) -> Array:
    """The (m, m) cost matrix, checked to be a power of a distance but for the triangle inequality.

    Raises:
        InputError: `cost` has the wrong shape, negative or infinite entries, a non-zero diagonal, no
            symmetry, or sizes out of [1e-100, 1e100]; or the order is below 1.

    Example:
        >>> checked_cost(2, [[0, 1], [1, 0]], 1.0).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    positive("order", order, "W_p is a distance for p >= 1 only")
    if not order >= 1:
        raise InputError(
            f"order must be a finite number of at least 1, got {order!r}: W_p is a distance for p >= 1 only"
        )
    cost = np.asarray(reals("cost", cost, "(m, m)", "it is a power of a distance"))
    if cost.shape != (m, m):
        raise InputError(
            f"cost must hold d(z, z')**order for each pair of the {m} atoms, got shape {cost.shape}"
        )
    if not (np.isfinite(cost).all() and (cost >= 0).all()):
        raise InputError("cost must be finite and non-negative: it is a power of a distance")
    if np.diagonal(cost).any():
        raise InputError(
            f"cost[{int(np.argmax(np.diagonal(cost)))}] to itself is not 0: an atom that stays pays nothing"
        )
    if not np.abs(cost - cost.T).max() <= 1e-12 * cost.max():
        raise InputError(
            "cost must be symmetric: it is a power of a distance; symmetrise it or transpose consistently"
        )
    moderate("cost", cost, "take other units of the metric")
    return cost


def triangle_excess(cost: ArrayLike, order: float = 1.0) -> float:
    """The largest violation of the triangle inequality: max of d(i, k) - d(i, j) - d(j, k), at least 0.

    The distance is d = cost**(1/order); `cost` that is no power of a distance for another reason is refused.
    The solvers need no triangle inequality, because duality holds for any cost, so they do not check it.
    Where it fails, the ball is a transport ball and not one of a metric.

    Example:
        >>> cost = [[0, 1, 4], [1, 0, 1], [4, 1, 0]]
        >>> triangle_excess(cost), triangle_excess(cost, order=2)
        (2.0, 0.0)
    """
    d = checked_cost(len(np.atleast_1d(np.asarray(cost, object))), cost, order) ** (1 / order)
    return max(0.0, max(float((d - d[:, [j]] - d[j]).max()) for j in range(len(d))))
