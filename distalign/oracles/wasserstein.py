"""Losses and fits that are robust over a Wasserstein ball, as whole conic and linear programs, and POT's
distance.

Each is the textbook program with all its constraints: slow, and independent of `distalign.solvers`. Inputs
are not checked here but by the solvers.

Source: textbook duality of Wasserstein balls, written down for the logistic loss; arXiv 2502.01930 uses it.
"""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import ot
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack

from distalign.arguments import (
    COST,
    LAW,
    MASSES,
    NONNEGATIVE,
    ORDER,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    REAL,
    OneOf,
    checked,
)
from distalign.checks import InputError
from distalign.types import Array

_SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    (cp.CLARABEL, {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}),
    (cp.CLARABEL, {}),
    (cp.SCS, {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 200_000}),
)


@checked(
    losses=REAL.solvable.of("m"),
    p=LAW.of("m"),
    cost=COST.solvable,
    radius=POSITIVE.solvable,
    order=ORDER,
)
def wasserstein_ball_value(
    losses: ArrayLike, p: ArrayLike, cost: ArrayLike, *, radius: float, order: float = 1.0
) -> tuple[float, Array]:
    r"""sup { E_Q l : W_order(Q, P) <= radius } and Q, by the primal linear program over couplings (HiGHS).

    The program is  maximise sum_ij g_ij l_j  over g >= 0 with row sums p and sum_ij g_ij c_ij <=
    radius^order.

    Args:
        losses: (m,) losses.
        p: (m,) law.
        cost: (m, m) d**order.
        radius: radius of the ball.
        order: order of the distance.

    Raises:
        InputError: HiGHS does not solve it.

    Example:
        >>> value, law = wasserstein_ball_value([0.0, 1.0], [0.5, 0.5], [[0.0, 2.0], [2.0, 0.0]], radius=0.1)
        >>> round(value, 9), law.round(9).tolist()
        (0.55, [0.45, 0.55])
    """
    losses, p, cost = np.asarray(losses, float), np.asarray(p, float), np.asarray(cost, float)
    m = len(p)
    i, j = np.divmod(np.arange(m * m), m)
    rows = coo_array((np.ones(m * m), (i, np.arange(m * m))), shape=(m, m * m))
    solution = linprog(-losses[j], cost.reshape(1, -1), [radius**order], rows, p, method="highs")
    if solution.x is None:
        raise InputError(f"HiGHS did not solve the primal linear program: {solution.message}")
    return -float(solution.fun), solution.x.reshape(m, m).sum(0)


@checked(p=MASSES.of("m"), q=MASSES.of("k"), cost=NONNEGATIVE.solvable.of("m k"), order=ORDER)
def wasserstein_distance(p: ArrayLike, q: ArrayLike, cost: ArrayLike, *, order: float = 1.0) -> float:
    """The Wasserstein distance W_order(P, Q) by POT's network simplex, for a cost matrix d**order.

    P and Q are p and q, each divided by its sum; the cost is that of moving an atom of P to one of Q.

    Example:
        >>> wasserstein_distance([0.5, 0.5], [0.45, 0.55], [[0.0, 2.0], [2.0, 0.0]])
        0.1
    """
    p, q = np.asarray(p, float), np.asarray(q, float)
    value: Any = ot.emd2(p / p.sum(), q / q.sum(), np.ascontiguousarray(cost, float), numItermax=10_000_000)
    return round(float(value) ** (1 / order), 15)


@checked(v=REAL.solvable.of("m d"), p=LAW.of("m"), cost=COST.solvable, order=ORDER)
def wasserstein_collapse_radius(v: ArrayLike, p: ArrayLike, cost: ArrayLike, *, order: float = 1.0) -> float:
    """The least W_order distance from P of a law with E_Q v = 0, by a linear program over couplings (HiGHS).

    It is infinite if no law on the atoms has mean zero.

    Example:
        >>> round(wasserstein_collapse_radius([[1.0], [-1.0]], [0.9, 0.1], [[0.0, 2.0], [2.0, 0.0]]), 9)
        0.8
    """
    v, p, cost = np.asarray(v, float), np.asarray(p, float), np.asarray(cost, float)
    m = len(p)
    i, j = np.divmod(np.arange(m * m), m)
    rows = coo_array((np.ones(m * m), (i, np.arange(m * m))), shape=(m, m * m))
    equal = vstack([rows, coo_array(v[j].T)])
    solution = linprog(cost.ravel(), A_eq=equal, b_eq=np.append(p, np.zeros(v.shape[1])), method="highs")
    return float(solution.fun) ** (1 / order) if solution.x is not None else float("inf")


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    cost=COST.solvable,
    radius=POSITIVE.solvable,
    beta=POSITIVE.solvable,
    order=ORDER,
)
def wasserstein_finite_fit(
    v: ArrayLike, p: ArrayLike, cost: ArrayLike, *, radius: float, beta: float = 1.0, order: float = 1.0
) -> tuple[Array, float, str]:
    r"""argmin over theta of the worst expected loss over a Wasserstein ball on the atoms (exponential cones).

    The whole program is  minimise  eta radius^order + sum_i p_i s_i  with  s_i >= u_j - eta c_ij  for all i,
    j, u_j >= log(1 + exp(-beta v_j.theta)).

    Returns:
        ((d,) theta, its value in the program, the solver that answered).

    Raises:
        InputError: every solver of the chain fails.

    Source: arXiv 2502.01930, its Wasserstein dual on a finite space.

    Example:
        >>> cost = [[0.0, 2.0], [2.0, 0.0]]
        >>> theta, value, _ = wasserstein_finite_fit([[1.0], [-1.0]], [0.9, 0.1], cost, radius=0.2)
        >>> round(theta.item(), 4)
        1.3863
    """
    v, p, cost = np.asarray(v, float), np.asarray(p, float), np.asarray(cost, float)
    theta, eta, s, u = (
        cp.Variable(v.shape[1]),
        cp.Variable(nonneg=True),
        cp.Variable(len(p)),
        cp.Variable(len(p)),
    )
    rows = [
        cp.reshape(s, (len(p), 1), order="C") @ np.ones((1, len(p)))
        >= np.ones((len(p), 1)) @ cp.reshape(u, (1, len(p)), order="C") - eta * cost
    ]
    problem = cp.Problem(
        cp.Minimize(eta * radius**order + p @ s), [*rows, cp.logistic(-beta * v @ theta) <= u]
    )
    name = _first_answer(problem)
    return np.asarray(theta.value), float(problem.value), name  # type: ignore[arg-type]


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    radius=POSITIVE.solvable,
    beta=POSITIVE.solvable,
    norm=OneOf(("l2", "l1", "linf")),
    flip_cost=POSITIVE_OR_INFINITE.solvable,
)
def wasserstein_norm_fit(
    v: ArrayLike,
    p: ArrayLike,
    *,
    radius: float,
    beta: float = 1.0,
    norm: str = "l2",
    flip_cost: float = np.inf,
) -> tuple[Array, float, str]:
    r"""argmin over theta of the worst expected loss over a W_1 ball on R^d, as a conic program.

    Labels may flip at the cost `flip_cost`. The program is  minimise  lam radius + p.s  with  s_i >= l(t_i),
    s_i >= l(-t_i) - flip_cost lam  and  beta |theta|_* <= lam.

    Returns:
        ((d,) theta, its value in the program, the solver that answered).

    Raises:
        InputError: every solver of the chain fails.

    Source: arXiv 1509.09259, its tractable reformulation.

    Example:
        >>> theta, value, _ = wasserstein_norm_fit([[1.0], [-1.0]], [0.9, 0.1], radius=0.2)
        >>> round(theta.item(), 4)
        0.8473
    """
    v, p = np.asarray(v, float), np.asarray(p, float)
    theta, lam, s = cp.Variable(v.shape[1]), cp.Variable(), cp.Variable(len(p))
    dual = {"l2": 2, "l1": "inf", "linf": 1}[norm]
    constraints: list[Any] = [beta * cp.norm(theta, dual) <= lam, cp.logistic(-beta * v @ theta) <= s]
    if np.isfinite(flip_cost):
        constraints.append(cp.logistic(beta * v @ theta) - flip_cost * lam <= s)
    problem = cp.Problem(cp.Minimize(lam * radius + p @ s), constraints)
    name = _first_answer(problem)
    return np.asarray(theta.value), float(problem.value), name  # type: ignore[arg-type]


def _first_answer(problem: cp.Problem) -> str:
    """Solve by the first solver that answers, and return its name.

    The solvers are Clarabel with tight tolerances, Clarabel with its own, and SCS.

    Raises:
        InputError: none answers; the message holds the status of each.

    Example:
        >>> x = cp.Variable()
        >>> _first_answer(cp.Problem(cp.Minimize(x), [x >= 1]))
        'CLARABEL'
    """
    tried = []
    for solver, options in _SOLVERS:
        try:
            # Asked for more digits than there are, Clarabel stops at the last one and says so.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Solution may be inaccurate")
                problem.solve(solver=solver, **options)
        except cp.SolverError as error:
            tried.append(f"{solver}: {error}")
            continue
        if problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            return solver
        tried.append(f"{solver}: {problem.status}")
    raise InputError(
        "no solver of the chain answered ("
        + "; ".join(tried)
        + "): the ball may be empty or the scales extreme"
    )
