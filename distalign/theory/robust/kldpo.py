"""What theory predicts for KLDPO on a log-linear class: shrinkage, the guaranteed rate, and the limit law.

The loss of an atom is l = log(1 + exp(-beta <theta, v>)), theta measured from the reference policy's
parameter. At a fixed temperature tau the robust loss is  tau log E exp(l / tau).  Over a ball of radius rho
it is that plus tau rho, minimised over tau. The worst law is  w = exp(l / tau) / E exp(l / tau)  times the
nominal one.

Source: shrinkage and both limit laws are ours; what is a theorem of arXiv 2502.01930 says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from distalign.arguments import (
    INSIDE_UNIT,
    LAW,
    NONNEGATIVE,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    REAL,
    checked,
    moderate_margins,
    quantity,
    spanning,
)
from distalign.types import Array

GUARANTEED_EXPONENT = -0.25
PARAMETRIC_EXPONENT = -0.5


def _out_of_reach(v: Array, p: Array, theta_star: Array, radius: float, beta: float) -> str:
    """A relation: some temperature within e^-7 and e^16 puts the worst law at KL = radius."""
    ends = []
    for tau in (np.exp(16.0), np.exp(-7.0)):
        exponents = np.logaddexp(0, -tau / (1 + tau) * beta * np.asarray(v) @ np.asarray(theta_star)) / tau
        log_density = exponents - logsumexp(exponents, b=p)
        ends.append(float((p * np.exp(log_density)) @ log_density))
    fits = ends[0] < radius < ends[1]
    return (
        ""
        if fits
        else f"radius must lie between {ends[0]:.3g} and {ends[1]:.3g} for these data, got {radius}"
    )


def _not_one_atom(v: Array, theta: Array, temperature: float, beta: float) -> str:
    """A relation: the worst law leaves no atom without mass in double precision."""
    losses = np.logaddexp(0, -beta * np.asarray(v) @ np.asarray(theta))
    least = float(np.ptp(losses)) / 300
    return (
        ""
        if temperature >= least
        else f"temperature must be at least {least:.3g} at these losses, got {temperature}"
    )


@checked(temperature=POSITIVE.elementwise)
def shrinkage_factor(temperature: float) -> float:
    """tau / (1 + tau): on Bradley-Terry data that the class fits, KLDPO is DPO's solution times this factor.

    For each pair the minimiser of  sigma(t*) (1 + e^-t)^(1/tau) + sigma(-t*) (1 + e^t)^(1/tau)  has  t* = t
    (1 + 1/tau), and one theta attains it for all pairs. Ours.

    Example:
        >>> shrinkage_factor(1.0)
        0.5
    """
    return temperature / (1 + temperature)


@checked(temperature=POSITIVE)
def anti_shrinkage_factor(temperature: float) -> float:
    """beta' / (beta' - 1), infinite for beta' <= 1: the factor by which Dr. DPO stretches DPO's solution.

    Dr. DPO is the tilt of KLDPO with the opposite sign. Ours.

    Example:
        >>> anti_shrinkage_factor(2.0)
        2.0
    """
    return temperature / (temperature - 1) if temperature > 1 else float("inf")


@checked(
    _out_of_reach, v=REAL.of("m d"), p=LAW.of("m"), theta_star=REAL.of("d"), radius=POSITIVE, beta=POSITIVE
)
def ball_temperature(v: Array, p: Array, theta_star: Array, radius: float, beta: float = 1.0) -> float:
    """The temperature tau at which the worst law of the shrunk solution lies at KL = radius.

    This is the dual multiplier of the ball of that radius.

    Args:
        v: (m, d) features of the chosen minus the rejected response; with p an exact Bradley-Terry law.
        p: (m,) law of the atoms.
        theta_star: (d,) DPO's population solution.
        radius: radius in nats, below the collapse radius (at which the temperature reaches 0).
        beta: scale of the margin.

    Source: ours, by `shrinkage_factor` and KL duality.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> tau = ball_temperature(v, p, np.array([np.log(9)]), radius=0.05)
        >>> round(shrinkage_factor(tau) * float(np.log(9)), 4)
        1.3448
    """

    def excess(log_tau: float) -> float:
        tau = np.exp(log_tau)
        losses = np.logaddexp(0, -shrinkage_factor(tau) * beta * v @ theta_star)
        log_density = losses / tau - logsumexp(losses / tau, b=p)
        return float((p * np.exp(log_density)) @ log_density) - radius

    log_tau: Any = brentq(excess, -7.0, 16.0, xtol=1e-14)
    return float(np.exp(log_tau))


@checked(
    spanning,
    moderate_margins,
    _not_one_atom,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    temperature=POSITIVE_OR_INFINITE,
    beta=POSITIVE,
)
def temperature_covariance(v: Array, p: Array, theta: Array, temperature: float, beta: float = 1.0) -> Array:
    """Limit covariance (d, d) of sqrt(n) (theta_n - theta) at a fixed temperature.

        H^{-1} E[w^2 grad l grad l^T] H^{-1},   H = E_Q Hess l + Cov_Q(grad l) / tau

    H is the Hessian of the population robust loss. Both robust problems are smooth and finite-dimensional,
    hence M-estimation with the parametric rate n^{-1/2}, while the paper's proof gives n^{-1/4}. Ours.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        theta: (d,) population minimiser.
        temperature: tau; infinity is DPO.
        beta: scale of the margin.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.5, 0.5])
        >>> float(temperature_covariance(v, p, np.zeros(1), np.inf)[0, 0])  # 1 / (p (1 - p)) of the logit
        4.0
    """
    w, gradients, _, hessian, _ = _worst(v, p, theta, temperature, beta)
    return _sandwich(w[:, None] * gradients, p, hessian)


@checked(
    spanning,
    moderate_margins,
    _not_one_atom,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    temperature=POSITIVE_OR_INFINITE,
    beta=POSITIVE,
)
def temperature_influence(v: Array, p: Array, theta: Array, temperature: float, beta: float = 1.0) -> Array:
    """First-order change (m, d) of theta by a draw of each atom, at a fixed temperature:  -H^{-1} w grad l.

    Its mean is 0, and theta_n - theta is about the mean influence of the draws, so its covariance is
    `temperature_covariance`, whose arguments these are. Ours.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.5, 0.5])
        >>> temperature_influence(v, p, np.zeros(1), np.inf).tolist()
        [[2.0], [-2.0]]
    """
    w, gradients, _, hessian, _ = _worst(v, p, theta, temperature, beta)
    return -np.linalg.solve(hessian, (w[:, None] * gradients).T).T  # pyright: ignore[reportReturnType]


@checked(
    spanning,
    moderate_margins,
    _not_one_atom,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    temperature=POSITIVE,
    beta=POSITIVE,
)
def ball_covariance(v: Array, p: Array, theta: Array, temperature: float, beta: float = 1.0) -> Array:
    """Limit covariance (d, d) of sqrt(n) (theta_n - theta) for a ball of multiplier `temperature`.

    The multiplier is estimated, too. Its first-order change enters the gradient through  c = Cov_Q(grad l,
    l).  An atom's influence is

        w grad l - (tau c / Var_Q l) (w (l - E_Q l) / tau - (w - 1)),

    and the Hessian H of `temperature_covariance` loses  c c^T / (tau Var_Q l).  Ours.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        theta: (d,) population minimiser.
        temperature: dual multiplier of the ball at theta.
        beta: scale of the margin.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.8, 0.2])
        >>> theta = np.array([np.log(4) / 2])  # a temperature of 1 shrinks by half
        >>> [round(f(v, p, theta, 1.0).item(), 4) for f in (ball_covariance, temperature_covariance)]
        [4.6831, 1.5625]
    """
    w, gradients, losses, hessian, mean = _worst(v, p, theta, temperature, beta)
    q = p * w
    centred = losses - q @ losses
    variance = q @ centred**2
    c = (q * centred) @ (gradients - mean)
    multiplier = w * centred / temperature - (w - 1)
    influence = w[:, None] * gradients - np.outer(multiplier, temperature * c / variance)
    return _sandwich(influence, p, hessian - np.outer(c, c) / (temperature * variance))


@checked(
    n=quantity(),
    beta=POSITIVE,
    norm=NONNEGATIVE,
    coverage=POSITIVE,
    multiplier_low=POSITIVE,
    multiplier_high=POSITIVE,
    delta=INSIDE_UNIT,
)
def squared_error_bound(
    n: float,
    *,
    beta: float,
    norm: float,
    coverage: float,
    multiplier_low: float,
    multiplier_high: float,
    delta: float = 0.05,
) -> float:
    """The guarantee for KLDPO on ||theta_n - theta||_2^2, with probability at least 1 - delta.

        sqrt(8 lam_high^2 exp(2 L / lam_low) log(2 / delta) / (gamma^2 lambda^2 n)),
        gamma = beta^2 sigma(4 beta B) sigma(-4 beta B),   L = log(1 + exp(4 beta B))

    The norm itself is thus guaranteed to fall like n^{-1/4}. The bound is mostly vacuous.

    Args:
        n: sample size.
        beta: scale of the margin.
        norm: B, bound on the norm of theta and of the reference's parameter.
        coverage: lambda, smallest eigenvalue of E_P[v v^T] over the laws P of the ball.
        multiplier_low, multiplier_high: bounds on the dual multiplier.
        delta: allowed probability of failure.

    Source: arXiv 2502.01930, Theorem 2; the formula is re-derived from its Lemma 13 and strong convexity, and
        whether the printed exponent holds 2 L or L is not known.

    Example:
        >>> a = squared_error_bound(1e4, beta=0.1, norm=1, coverage=0.09, multiplier_low=1, multiplier_high=1)
        >>> b = squared_error_bound(1e8, beta=0.1, norm=1, coverage=0.09, multiplier_low=1, multiplier_high=1)
        >>> round(a / b, 6)
        100.0
    """
    gamma = beta**2 * expit(4 * beta * norm) * expit(-4 * beta * norm)
    largest_loss = np.logaddexp(0, 4 * beta * norm)
    scale = multiplier_high * np.exp(largest_loss / multiplier_low) / (gamma * coverage)
    return float(scale * np.sqrt(8 * np.log(2 / delta) / n))


def _worst(
    v: Array, p: Array, theta: Array, temperature: float, beta: float
) -> tuple[Array, Array, Array, Array, Array]:
    """The worst law Q at theta and what is needed of it.

    Density w of Q, gradients and losses of the atoms, Hessian at fixed temperature, mean gradient under Q.
    """
    margins = beta * v @ theta
    losses = np.logaddexp(0, -margins)
    gradients = -beta * expit(-margins)[:, None] * v
    w = np.exp(losses / temperature - float(np.asarray(logsumexp(losses / temperature, b=p))))
    mean = (p * w) @ gradients
    spread = (gradients - mean).T @ ((p * w)[:, None] * (gradients - mean))
    curvature = beta**2 * v.T @ ((p * w * expit(margins) * expit(-margins))[:, None] * v)
    return w, gradients, losses, curvature + spread / temperature, mean


def _sandwich(influence: Array, p: Array, hessian: Array) -> Array:
    inverse = np.linalg.inv(hessian)
    return inverse @ (influence.T @ (p[:, None] * influence)) @ inverse
