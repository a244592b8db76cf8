"""Losses and fits that are robust over a Kullback-Leibler or chi-square ball, as conic programs (cvxpy)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.special import logsumexp

from distalign.arguments import INSIDE_UNIT, LAW, POSITIVE, REAL, checked
from distalign.checks import InputError, inside_unit, positive
from distalign.types import Array

_RADIUS = "it is the largest KL divergence, in nats, of the laws to be robust against"
_CHI2_RADIUS = "it is the largest chi-square divergence of the laws to be robust against"
_LEVEL = "it is the share of the worst atoms that is averaged over"
_MOVED = "it is the largest share of mass that may move"
_TEMPERATURE = "it is the price, in units of loss, of one nat of KL divergence"


@checked(losses=REAL.solvable.of("m"), p=LAW.of("m"), radius=POSITIVE.solvable.meaning(_RADIUS))
def kl_ball_value(losses: ArrayLike, p: ArrayLike, radius: float) -> float:
    r"""sup { E_Q l : KL(Q || P) <= radius } for a fixed vector of losses, by the primal program in Q itself.

    Args:
        losses: (m,) loss of each atom.
        p: (m,) law P, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: radius in nats, above 0.

    Raises:
        InputError: the shapes differ or the radius is not above 0.

    Source: the inner problem of arXiv 2502.01930, equation for the KL ambiguity set.

    Example:
        >>> round(kl_ball_value([0.0, 1.0], [0.5, 0.5], 0.1), 4)
        0.7198
    """
    positive("radius", radius, _RADIUS)
    losses, p, keep = _atoms(losses, p)
    q = cp.Variable(len(p))
    constraints: list[Any] = [cp.sum(q) == 1, cp.sum(cp.kl_div(q, p)) <= radius]
    problem = cp.Problem(cp.Maximize(losses[keep] @ q), constraints)
    _solve(problem, 0.9)
    return float(losses[keep] @ np.asarray(q.value))


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    beta=POSITIVE.solvable.meaning("it scales the margin"),
    radius=POSITIVE.solvable.meaning(_RADIUS),
)
def kl_ball_fit(v: ArrayLike, p: ArrayLike, *, beta: float = 1.0, radius: float) -> tuple[Array, float]:
    r"""min over theta of  sup { E_Q log(1 + exp(-beta <theta, v>)) : KL(Q || P) <= radius }.

    Written with the dual  inf over lam >= 0 of  lam radius + lam log E_P exp(l / lam)  as exponential cones:
    minimise lam radius + s subject to  log(1 + exp(-beta v_i.theta)) <= u_i,  lam exp((u_i - s) / lam) <=
    w_i,  p.w <= lam.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom.
        p: (m,) law P of the atoms.
        beta: scale of the margin, above 0.
        radius: radius in nats, above 0.

    Returns:
        ((d,) theta - theta_ref, the robust loss there).

    Source: arXiv 2502.01930, KLDPO on its log-linear class; the exponential-cone form is ours.

    Example:
        >>> theta, value = kl_ball_fit([[1.0], [-1.0]], [0.9, 0.1], radius=0.05)
        >>> round(float(theta[0]), 3), round(value, 3)
        (1.345, 0.51)
    """
    positive("beta", beta, "it scales the margin")
    positive("radius", radius, _RADIUS)
    v, p, keep = _atoms(v, p)
    theta, u, w, lam, s = (
        cp.Variable(v.shape[1]),
        cp.Variable(len(p)),
        cp.Variable(len(p)),
        cp.Variable(),
        cp.Variable(),
    )
    constraints = [
        cp.logistic(-beta * v[keep] @ theta) <= u,
        cp.ExpCone(u - s, lam * np.ones(len(p)), w),
        p @ w <= lam,
    ]

    def robust_loss() -> float:
        price: Any = lam.value
        return float(price * (radius + logsumexp(_losses(v[keep], theta, beta) / price, b=p)))  # pyright: ignore[reportOperatorIssue]

    return _best(cp.Problem(cp.Minimize(lam * radius + s), constraints), theta, robust_loss)


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    beta=POSITIVE.solvable.meaning("it scales the margin"),
    temperature=POSITIVE.solvable.meaning(_TEMPERATURE),
)
def kl_penalised_fit(
    v: ArrayLike, p: ArrayLike, *, beta: float = 1.0, temperature: float
) -> tuple[Array, float]:
    r"""KLDPO at a fixed temperature: min over theta of  temperature log E_P exp(l / temperature).

    The loss is l = log(1 + exp(-beta <theta, v>)).

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom.
        p: (m,) law P of the atoms.
        beta: scale of the margin, above 0.
        temperature: price of one nat, above 0.

    Returns:
        ((d,) theta - theta_ref, the penalised robust loss there).

    Source: arXiv 2502.01930, Algorithm 2 in its exact form.

    Example:
        >>> theta, value = kl_penalised_fit([[1.0], [-1.0]], [0.9, 0.1], temperature=1.0)
        >>> round(float(theta[0]), 4)  # half of log 9, by the shrinkage factor 1/(1 + 1)
        1.0986
    """
    positive("beta", beta, "it scales the margin")
    positive("temperature", temperature, _TEMPERATURE)
    v, p, keep = _atoms(v, p)
    theta = cp.Variable(v.shape[1])
    exponents = np.log(p) + cp.logistic(-beta * v[keep] @ theta) / temperature

    def robust_loss() -> float:
        log_mean: Any = logsumexp(_losses(v[keep], theta, beta) / temperature, b=p)
        return temperature * float(log_mean)

    return _best(cp.Problem(cp.Minimize(cp.log_sum_exp(exponents))), theta, robust_loss)


@checked(losses=REAL.solvable.of("m"), p=LAW.of("m"), radius=POSITIVE.solvable.meaning(_CHI2_RADIUS))
def chi2_ball_value(losses: ArrayLike, p: ArrayLike, radius: float) -> float:
    r"""sup { E_Q l : E_P (dQ/dP - 1)^2 / 2 <= radius } for a fixed vector of losses, by the primal program in
    Q.

    Args:
        losses: (m,) loss of each atom.
        p: (m,) law P, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: chi-square radius, above 0.

    Raises:
        InputError: the shapes differ or the radius is not above 0.

    Source: textbook.

    Example:
        >>> round(chi2_ball_value([0.0, 1.0], [0.5, 0.5], 0.02), 6)
        0.6
    """
    positive("radius", radius, _CHI2_RADIUS)
    losses, p, keep = _atoms(losses, p)
    ratio = cp.Variable(len(p), nonneg=True)
    constraints: list[Any] = [
        p @ ratio == 1,
        cp.norm(cp.multiply(np.sqrt(p), ratio - 1)) <= np.sqrt(2 * radius),
    ]
    _solve(cp.Problem(cp.Maximize((p * losses[keep]) @ ratio), constraints), 0.9)
    return float((p * losses[keep]) @ np.asarray(ratio.value))


def _far_apart(v: ArrayLike, beta: float) -> str:
    """A relation: features are not so large that the conic solver fails."""
    largest = float(beta * np.abs(np.asarray(v, float)).max())
    return (
        ""
        if largest <= 1e4
        else f"beta v must be at most 1e4 in size, got {largest:.3g}: rescale one of them"
    )


@checked(
    _far_apart,
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    beta=POSITIVE.solvable.meaning("it scales the margin"),
    radius=POSITIVE.solvable.meaning(_CHI2_RADIUS),
)
def chi2_ball_fit(v: ArrayLike, p: ArrayLike, *, beta: float = 1.0, radius: float) -> tuple[Array, float]:
    r"""min over theta of  sup { E_Q log(1 + exp(-beta <theta, v>)) : E_P (dQ/dP - 1)^2 / 2 <= radius }.

    Written with the dual: minimise  eta + sqrt(1 + 2 radius) |sqrt(p) s|_2  subject to  s >= 0  and
    log(1 + exp(-beta v_i.theta)) <= eta + s_i.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom.
        p: (m,) law P of the atoms.
        beta: scale of the margin, above 0.
        radius: chi-square radius, above 0.

    Returns:
        ((d,) theta - theta_ref, the robust loss there).

    Source: the dual of Duchi and Namkoong, arXiv 1810.08750 (from memory); the conic form is textbook.

    Example:
        >>> theta, value = chi2_ball_fit([[1.0], [-1.0]], [0.9, 0.1], radius=0.05)
        >>> round(float(theta[0]), 3), round(value, 3)
        (1.419, 0.493)
    """
    positive("beta", beta, "it scales the margin")
    positive("radius", radius, _CHI2_RADIUS)
    v, p, keep = _atoms(v, p)
    theta, eta, s = cp.Variable(v.shape[1]), cp.Variable(), cp.Variable(len(p), nonneg=True)
    norm = np.sqrt(1 + 2 * radius)

    def robust_loss() -> float:
        excess = np.maximum(_losses(v[keep], theta, beta) - float(np.asarray(eta.value)), 0)
        return float(np.asarray(eta.value) + norm * np.sqrt(p @ excess**2))

    objective = cp.Minimize(eta + norm * cp.norm(cp.multiply(np.sqrt(p), s)))
    return _best(cp.Problem(objective, [cp.logistic(-beta * v[keep] @ theta) <= eta + s]), theta, robust_loss)


@checked(losses=REAL.solvable.of("m"), p=LAW.of("m"), level=INSIDE_UNIT.meaning(_LEVEL))
def cvar_value(losses: ArrayLike, p: ArrayLike, level: float) -> float:
    r"""sup { E_Q l : dQ/dP <= 1 / level } for a fixed vector of losses, by the linear program in Q (HiGHS).

    Args:
        losses: (m,) loss of each atom.
        p: (m,) law P, non-negative, of sum 1.
        level: in (0, 1).

    Raises:
        InputError: the shapes differ or the level is not in (0, 1).

    Source: textbook.

    Example:
        >>> round(cvar_value([0.0, 1.0, 4.0], [0.25, 0.5, 0.25], 0.5), 9)
        2.5
    """
    inside_unit("level", level, _LEVEL)
    losses, p, keep = _atoms(losses, p)
    return _largest_mean(losses[keep], np.zeros((0, len(p))), np.zeros(0), p / level)


@checked(losses=REAL.solvable.of("m"), p=LAW.of("m"), radius=INSIDE_UNIT.meaning(_MOVED))
def total_variation_ball_value(losses: ArrayLike, p: ArrayLike, radius: float) -> float:
    r"""sup { E_Q l : sum |Q - P| / 2 <= radius } for a fixed vector of losses, by the linear program in Q.

    The unknowns are Q and what it exceeds P by, whose sum is the total variation.

    Args:
        losses: (m,) loss of each atom.
        p: (m,) law P, non-negative, of sum 1; atoms of probability 0 stay at 0.
        radius: in (0, 1).

    Raises:
        InputError: the shapes differ or the radius is not in (0, 1).

    Source: textbook.

    Example:
        >>> round(total_variation_ball_value([0.0, 1.0, 4.0], [0.5, 0.25, 0.25], 0.25), 9)
        2.25
    """
    inside_unit("radius", radius, _MOVED)
    losses, p, keep = _atoms(losses, p)
    size = len(p)
    exceeds = np.hstack([np.eye(size), -np.eye(size)])
    total = np.append(np.zeros(size), np.ones(size))
    rows, limits = np.vstack([exceeds, total]), np.append(p, radius)
    return _largest_mean(losses[keep], rows, limits, np.ones(2 * size))


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    beta=POSITIVE.solvable.meaning("it scales the margin"),
    level=INSIDE_UNIT.meaning(_LEVEL),
)
def cvar_fit(v: ArrayLike, p: ArrayLike, *, beta: float = 1.0, level: float) -> tuple[Array, float]:
    r"""min over theta of  sup { E_Q log(1 + exp(-beta <theta, v>)) : dQ/dP <= 1 / level }.

    Written with the dual  inf over eta of  eta + E_P (l - eta)_+ / level.

    Args:
        v: (m, d) feature differences of the atoms.
        p: (m,) law of the atoms.
        beta: scale of the margin, above 0.
        level: in (0, 1).

    Returns:
        theta (d,) and the robust loss there.

    Raises:
        InputError: the shapes differ or the level is not in (0, 1).

    Source: the dual is that of Rockafellar and Uryasev 2000.

    Example: the pair that is won more often keeps three quarters of the weight, so theta = log 3.
        >>> theta, value = cvar_fit([[1.0], [-1.0]], [0.8, 0.2], level=0.8)
        >>> theta.round(4).tolist(), round(value, 4)
        ([1.0986], 0.5623)
    """
    inside_unit("level", level, _LEVEL)
    return _share_fit(v, p, beta, level, 0.0)


@checked(
    v=REAL.solvable.of("m d"),
    p=LAW.of("m"),
    beta=POSITIVE.solvable.meaning("it scales the margin"),
    radius=INSIDE_UNIT.meaning(_MOVED),
)
def total_variation_ball_fit(
    v: ArrayLike, p: ArrayLike, *, beta: float = 1.0, radius: float
) -> tuple[Array, float]:
    r"""min over theta of  sup { E_Q log(1 + exp(-beta <theta, v>)) : sum |Q - P| / 2 <= radius }.

    Written as  radius max l + (1 - radius) CVaR_{1 - radius}(l).

    Args:
        v: (m, d) feature differences of the atoms.
        p: (m,) law of the atoms.
        beta: scale of the margin, above 0.
        radius: in (0, 1).

    Returns:
        theta (d,) and the robust loss there.

    Raises:
        InputError: the shapes differ or the radius is not in (0, 1).

    Source: textbook.

    Example: a fifth of the mass moves from the pair that is won more often to the other.
        >>> theta, value = total_variation_ball_fit([[1.0], [-1.0]], [0.8, 0.2], radius=0.2)
        >>> theta.round(4).tolist(), round(value, 4)
        ([0.4055], 0.673)
    """
    inside_unit("radius", radius, _MOVED)
    return _share_fit(v, p, beta, 1 - radius, radius)


def _share_fit(v: ArrayLike, p: ArrayLike, beta: float, level: float, to_worst: float) -> tuple[Array, float]:
    """min over theta of  to_worst max l + (1 - to_worst) CVaR_level(l)."""
    positive("beta", beta, "it scales the margin")
    v, p, keep = _atoms(v, p)
    theta, eta, top = cp.Variable(v.shape[1]), cp.Variable(), cp.Variable()
    above = cp.Variable(len(p), nonneg=True)
    losses = cp.logistic(-beta * v[keep] @ theta)

    def robust_loss() -> float:
        found = _losses(v[keep], theta, beta)
        tail = min(x + p @ np.maximum(found - x, 0) / level for x in found)
        return float(to_worst * found.max() + (1 - to_worst) * tail)

    objective = cp.Minimize(to_worst * top + (1 - to_worst) * (eta + p @ above / level))
    constraints: list[Any] = [losses <= eta + above, losses <= top]
    return _best(cp.Problem(objective, constraints), theta, robust_loss)


def _largest_mean(losses: Array, rows: Array, limits: Array, above: Array) -> float:
    """max q.l over laws q with rows (q, rest) <= limits and 0 <= (q, rest) <= above."""
    size, rest = len(losses), len(above) - len(losses)
    solved = linprog(
        -np.append(losses, np.zeros(rest)),
        A_ub=rows,
        b_ub=limits,
        A_eq=np.append(np.ones(size), np.zeros(rest))[None],
        b_eq=[1.0],
        bounds=np.column_stack([np.zeros(size + rest), above]),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return -float(solved.fun) if solved.success else float("nan")


def _atoms(rows: ArrayLike, p: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The rows, the positive probabilities, and which those are."""
    rows, p = np.asarray(rows, float), np.asarray(p, float)
    if p.ndim != 1 or len(rows) != len(p):
        raise InputError(
            f"p must hold one probability for each of the {len(rows)} atoms, got shape {p.shape}"
        )
    return rows, p[p > 0] / p.sum(), p > 0


def _losses(v: Array, theta: cp.Variable, beta: float) -> Array:
    """The losses of the atoms v at the solver's theta."""
    return np.logaddexp(0, -beta * v @ np.asarray(theta.value))


def _best(problem: cp.Problem, theta: cp.Variable, robust_loss: Callable[[], float]) -> tuple[Array, float]:
    """The best of three solves with different step lengths: at some of them the solver stalls early."""
    found = []
    for fraction in (0.9, 0.8, 0.7):
        _solve(problem, fraction)
        found.append((robust_loss(), np.array(theta.value)))
    value, at = min(found, key=lambda pair: pair[0])
    return at, value


def _solve(problem: cp.Problem, fraction: float) -> None:
    """Solve to the last digit, with the given longest step of the interior-point method."""
    # Asked for more digits than there are, Clarabel stops at the last one and says so.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        problem.solve(
            solver=cp.CLARABEL,
            tol_gap_abs=1e-14,
            tol_gap_rel=1e-14,
            tol_feas=1e-14,
            max_step_fraction=fraction,
        )
