"""Losses and fits that are robust over a Kullback-Leibler or chi-square ball, as conic programs (cvxpy)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from distalign.arguments import LAW, POSITIVE, REAL, checked
from distalign.checks import InputError, positive
from distalign.types import Array

_RADIUS = "it is the largest KL divergence, in nats, of the laws to be robust against"
_CHI2_RADIUS = "it is the largest chi-square divergence of the laws to be robust against"
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
