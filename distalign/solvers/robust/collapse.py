r"""When a ball is so large that the robust optimum is the reference policy itself: the collapse radius.

At theta = 0 the loss of every pair is log 2. If the ball holds a law under which v has mean zero, no theta
does better, because the plain loss under that law is least at theta = 0. On a finite space the ball is
compact and the condition is also necessary, by Sion's theorem. In R^d mass can escape to infinity, and a
smaller ball may suffice. All of this is ours.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, hstack

from distalign.checks import InputError, moderate, one_of, positive, reals
from distalign.checks import laws as checked_laws
from distalign.solvers.batched_newton import batched_newton
from distalign.solvers.robust.kl_ball import tilted
from distalign.solvers.robust.wasserstein_fit import checked_cost
from distalign.types import Array

ORDERS: dict[str, float] = {"l2": 2, "l1": 1, "linf": np.inf}  # norms of R^d by name
_BOX = 1e6  # bound on the dual variables, in units of cost over |v|, that no reachable mean attains


_CALLS, _STILL = 500, 3  # linear programs at most, and those without a new constraint


class CollapseWarning(UserWarning):
    """The ball is so large that the robust optimum is the reference policy itself."""


def collapse_radius(v: ArrayLike, p: ArrayLike) -> Array:
    r"""The radius  -min over u of log E_P exp<u, v>  from which on the robust optimum is the reference policy
    itself.

    It is the least KL divergence from P of a law under which v has mean zero: against that law nothing beats
    theta = 0. Where no such law exists (separable data) it is infinite.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.

    Returns:
        (R,) radii in nats.

    Source: ours (information projection on zero mean; for a compact ball also necessary, by Sion's theorem).

    Example:
        >>> collapse_radius([[1.0], [-1.0]], [0.9, 0.1]).round(4).tolist()  # KL of a fair coin from 0.9
        [0.5108]
    """
    x, laws = atoms_and_laws(v, p, 1.0)
    return projection(x, laws)[1]


def wasserstein_collapse_radius(v: ArrayLike, p: ArrayLike, cost: ArrayLike, *, order: float = 1.0) -> Array:
    r"""The least W_order distance from P of a law on the same atoms under which v has mean zero, for each law
    P.

    Its dual  max over u of sum_i p_i min_j (c_ij - <u, v_j>)  is a linear program in few variables; each
    atom's constraints are added as they are violated.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        cost: (m, m) d**order between atoms.
        order: order of the distance.

    Returns:
        (R,) radii in units of d; infinite where no law on the atoms has mean zero, NaN where the linear
        program was not solved.

    Raises:
        InputError: the shapes do not fit, `cost` is no power of a metric, or the order is below 1.

    Source: ours.

    Example:
        >>> cost = [[0.0, 2.0], [2.0, 0.0]]
        >>> wasserstein_collapse_radius([[1.0], [-1.0]], [0.9, 0.1], cost).round(9).tolist()
        [0.8]
    """
    x, laws = atoms_and_laws(v, p, 1.0)
    cost = checked_cost(len(x), cost, order)
    return np.array([_least_cost_in_units(x, law, cost) for law in laws]) ** (1 / order)


def euclidean_collapse_radius(v: ArrayLike, p: ArrayLike, *, order: int, norm: str = "l2") -> Array:
    r"""The radius from which on theta = 0 is optimal over a ball of laws on R^d.

    It is |E_P v| / 2 for W_1 and |E_P v|_2 for W_2. Near theta = 0 the robust loss is
    log 2 - beta <theta, E_P v> / 2  plus a penalty: radius beta |theta|_* for W_1, because the slope of the
    loss can reach 1 at infinity, and radius beta |theta|_2 / 2 for W_2, because the slope is 1/2 where the
    atoms are. A shift of all mass by -E_P v costs |E_P v| in both orders, so W_1 collapses at half of the
    radius that centres the law.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        order: 1 or 2.
        norm: cost of transport, "l2", "l1" or "linf"; only "l2" for order 2.

    Returns:
        (R,) radii in units of the norm.

    Raises:
        InputError: the norm is unknown, or the order has none of that norm.

    Source: ours.

    Example:
        >>> [euclidean_collapse_radius([[1.0], [-1.0]], [0.9, 0.1], order=k).item() for k in (1, 2)]
        [0.4, 0.8]
    """
    one_of("norm", norm, tuple(ORDERS))
    if order not in (1, 2) or (order == 2 and norm != "l2"):
        raise InputError(f"order must be 1 (any norm) or 2 (norm 'l2'), got {order!r} and {norm!r}")
    x, laws = atoms_and_laws(v, p, 1.0)
    return np.linalg.norm(laws @ x, ord=ORDERS[norm], axis=1) / (2 if order == 1 else 1)


def warn_of_collapse(p: ArrayLike, radius: float, threshold: Array) -> None:
    """Warn that the ball of a single law has collapsed, and name its collapse radius.

    Where many laws are given nothing is said: each fit has its own flag.

    Example:
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     warn_of_collapse([0.5, 0.5], 2.0, np.array([1.5]))
        >>> told[0].category.__name__
        'CollapseWarning'
    """
    if np.ndim(p) == 1:
        known = f" {threshold.item():.6g}" if np.isfinite(threshold).all() else ""
        warnings.warn(
            f"radius {radius:g} is not below the collapse radius{known}: "
            "the robust optimum is the reference policy itself; take a smaller radius",
            CollapseWarning,
            stacklevel=3,
        )


def _least_cost_in_units(x: Array, law: Array, cost: Array) -> float:
    """`_least_cost` as the data are, or in units of the largest feature and cost where that is not solved.

    The linear program's tolerances are absolute.
    """
    found, size, far = _least_cost(x, law, cost), np.abs(x).max(), cost.max()
    if np.isfinite(found) or np.isposinf(found) or size == 0 or far == 0:
        return found
    return far * _least_cost(x / size, law, cost / far)


def _least_cost(x: Array, law: Array, cost: Array) -> float:
    """The dual of the least cost of a law of mean zero, by constraint generation.

    Its variables are u (d) and one s_i for each atom of positive probability; s_i <= c_ij - <u, x_j> is asked
    for the pairs (i, j) found so far, and each round adds the most violated pair of every atom. u is sought
    in a box: where it reaches the box no law has mean zero, and the cost is infinite. The rounds end when no
    pair is violated, or when none is found any more that is not asked for already; the cost is NaN, not
    solved, where the linear program fails or leaves more than its own tolerance.
    """
    rows = np.flatnonzero(law)
    d, scale = x.shape[1], cost.max() / np.abs(x).max()
    i, j = np.arange(len(rows)), rows
    u = np.zeros(d)
    known, still = set(zip(i.tolist(), j.tolist())), 0
    for _ in range(_CALLS):
        new = (cost[rows] - x @ u).argmin(1)
        i, j = np.concatenate([i, np.arange(len(rows))]), np.concatenate([j, new])
        found = set(enumerate(new.tolist())) - known
        known, still = known | found, 0 if found else still + 1
        chosen = coo_array((np.ones(len(i)), (np.arange(len(i)), i)), shape=(len(i), len(rows)))
        box = _BOX * scale
        solution = linprog(
            np.append(np.zeros(d), -law[rows]),
            hstack([coo_array(x[j]), chosen]),
            cost[rows[i], j],
            bounds=[(-box, box)] * d + [(None, None)] * len(rows),
            method="highs",
        )
        if solution.x is None:
            return np.nan
        u, s = solution.x[:d], solution.x[d:]
        violation = s - (cost[rows] - x @ u).min(1)
        excess = law[rows] @ np.maximum(violation, 0)
        # The solver keeps constraints up to 1e-7. Where it leaves as much of one that it has, no round helps.
        if excess <= 1e-12 * cost.max() or (still >= _STILL and excess <= 1e-6 * cost.max()):
            return (
                np.inf
                if (np.abs(u) > 0.99 * box).any() and -solution.fun > 10 * cost.max()
                else max(-solution.fun, 0.0)
            )
        if still >= _STILL:
            break
    return np.nan


def projection(x: Array, laws: Array) -> tuple[Array, Array]:
    """The argmin over u of log E_P exp<u, x>, and minus that minimum (infinite where no law has mean zero).

    The law proportional to P exp<u, x> is the information projection of P on the laws of mean zero, and minus
    the minimum is its KL divergence from P.

    Example: -log 2 and -log 0.8.
        >>> u, radius = projection(np.array([[1.0], [-1.0]]), np.array([[0.8, 0.2]]))
        >>> round(u.item(), 4), round(radius.item(), 4)
        (-0.6931, 0.2231)
    """

    def log_moment(u: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        value, q = tilted(u @ x.T, laws[rows], np.ones(len(u)))
        mean = q @ x
        return value, mean, second_moments(q, x) - mean[:, :, None] * mean[:, None, :]

    u = batched_newton(log_moment, np.zeros((len(laws), x.shape[1]))).x
    radius = -log_moment(u, np.arange(len(laws)))[0]
    smallest = np.where(laws > 0, laws, 1).min(-1)
    return u, np.where(radius > -np.log(smallest) + 1e-9, np.inf, radius)


def second_moments(weights: Array, x: Array) -> Array:
    """The sums over atoms of weight times x x^T: (R, d, d) for weights (R, m) and x (m, d).

    Example:
        >>> second_moments(np.array([[0.5, 0.5]]), np.array([[1.0], [3.0]])).tolist()
        [[[5.0]]]
    """
    m, d = x.shape
    return (weights @ (x[:, :, None] * x[:, None, :]).reshape(m, d * d)).reshape(-1, d, d)


def atoms_and_laws(v: ArrayLike, p: ArrayLike, beta: float) -> tuple[Array, Array]:
    """beta times v, (m, d), and the laws as (R, m), after a check of their shapes and numbers and of beta.

    Raises:
        InputError: beta is not above 0, the shapes do not fit, v is not finite, p is no law, or the size of
            beta or of beta v is out of [1e-100, 1e100].

    Example:
        >>> x, laws = atoms_and_laws([[1.0]], [1.0], beta=2.0)
        >>> x.tolist(), laws.tolist()
        ([[2.0]], [[1.0]])
    """
    positive("beta", beta, "it scales the margin")
    v = reals("v", v, "(m, d)", "give the features of chosen less those of rejected, one row an atom")
    p = np.atleast_2d(checked_laws("p", p, "(..., m)"))
    if p.ndim != 2 or p.shape[1] != len(v):
        raise InputError(f"p must hold one probability for each row of v, got v {v.shape} and p {p.shape}")
    moderate("beta", beta, "take other units")
    moderate("v", v, "take other units of the features")
    moderate("beta times v", beta * v, "take other units of the features")
    return beta * v, p
