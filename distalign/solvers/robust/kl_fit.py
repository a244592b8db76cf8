"""KL-robust DPO on a log-linear policy, exactly: Newton's method in theta for many data sets at once.

The loss of an atom is l = log(1 + exp(-beta <theta, v>)), where v is the features of the chosen response less
those of the rejected one, and theta is measured from the reference policy's parameter: theta = 0 is the
reference, where every loss is log 2. Leading axes are replicates: they share the atoms and have one law each,
so a replicate costs a row of arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import above_0, moderate, positive
from distalign.solvers.batched_newton import batched_newton
from distalign.solvers.robust.collapse import atoms_and_laws, projection, second_moments, warn_of_collapse
from distalign.solvers.robust.kl_ball import KLWorstCase, kl_worst_case, tilted
from distalign.types import Array

_Mask = NDArray[np.bool_]
_Adversary = Callable[[Array, Array], KLWorstCase]


@dataclass(frozen=True)
class KLFit:
    """KL-robust fits, one for each replicate.

    Attributes:
        theta: (R, d) minimisers, measured from the reference policy's parameter.
        multiplier: (R,) dual multiplier, or the temperature where that is fixed; 0 where the ball has
            collapsed.
        primal: (R,) E_Q l (less temperature x divergence) under the worst law Q: a lower bound of the robust
            loss at theta.
        dual: (R,) the dual function at the multiplier: an upper bound of it; `dual - primal` is the gap.
        gradient: (R,) Euclidean norm of the robust loss's gradient; 0 where the ball has collapsed.
        collapsed: (R,) the ball holds a law under which v has mean zero, so theta = 0 exactly.
        solved: (R,) Newton's method has converged or the ball has collapsed; False where no finite minimiser
            exists (separable data).
    """

    theta: Array
    multiplier: Array
    primal: Array
    dual: Array
    gradient: Array
    collapsed: _Mask
    solved: _Mask


def fit_kl_ball(v: ArrayLike, p: ArrayLike, *, radius: float, beta: float = 1.0) -> KLFit:
    r"""KL-ball robust DPO: argmin over theta of  sup { E_Q l : KL(Q || P) <= radius },  for many laws P.

    The multiplier lam is an implicit function of theta. At the worst law Q the gradient is E_Q grad l and the
    Hessian E_Q Hess l + (Cov_Q(grad l) - c c^T / Var_Q(l)) / lam,  c = Cov_Q(grad l, l).

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms (empirical frequencies, say), or (m,) for one.
        radius: radius in nats, above 0.
        beta: scale of the margin, above 0.

    Raises:
        InputError: the shapes differ, or radius or beta is not above 0.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: arXiv 2502.01930, KLDPO on its log-linear class; Newton's method with an implicit multiplier is
        ours.

    Example:
        >>> fit = fit_kl_ball([[1.0], [-1.0]], [[0.9, 0.1], [0.6, 0.4]], radius=0.05)
        >>> fit.theta[:, 0].round(4).tolist(), fit.collapsed.tolist()
        ([1.3448, 0.0], [False, True])
    """
    positive("radius", radius, "it is the largest KL divergence, in nats, of the laws to be robust against")
    x, laws = atoms_and_laws(v, p, beta)
    u, critical = projection(x, laws)
    collapsed = radius >= critical
    if collapsed.all():
        warn_of_collapse(p, radius, critical)

    def adversary(losses: Array, p: Array) -> KLWorstCase:
        return kl_worst_case(losses, p, radius)

    theta, gradient, solved = np.zeros_like(u), np.zeros(len(laws)), collapsed.copy()
    if not collapsed.all():
        active = laws[~collapsed]
        start = _best_scale(-u[~collapsed], x, active, adversary)
        minima = batched_newton(_robust_loss(x, active, adversary, implicit=True), start)
        theta[~collapsed], gradient[~collapsed], solved[~collapsed] = minima.x, minima.gradient, minima.solved
    losses = np.logaddexp(0, -theta @ x.T)
    worst = adversary(losses, laws)
    primal = (worst.weights * losses).sum(-1)
    return KLFit(theta, worst.multiplier, primal, worst.value, gradient, collapsed, solved)


def fit_kl_temperature(v: ArrayLike, p: ArrayLike, *, temperature: float, beta: float = 1.0) -> KLFit:
    r"""KLDPO at a fixed temperature: argmin over theta of  tau log E_P exp(l / tau),  for many laws P.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        temperature: tau, the price of one nat in units of loss, above 0; infinity is DPO.
        beta: scale of the margin, above 0.

    Raises:
        InputError: the shapes differ, or temperature or beta is not above 0.

    Source: arXiv 2502.01930, Algorithm 2 in its exact form.

    Example:
        >>> fit = fit_kl_temperature([[1.0], [-1.0]], [0.9, 0.1], temperature=1.0)
        >>> bool(abs(2 * fit.theta[0, 0] - np.log(9)) < 1e-9)  # log 9, shrunk by 1/(1 + 1)
        True
    """
    above_0("temperature", temperature, "infinity is plain DPO")
    if not np.isinf(temperature):
        moderate("temperature", temperature, "infinity is plain DPO")
    x, laws = atoms_and_laws(v, p, beta)

    def adversary(losses: Array, p: Array) -> KLWorstCase:
        tau = np.full(len(losses), temperature)
        log_mean, q = tilted(losses, p, 1 / tau)
        value = (p * losses).sum(-1) if np.isinf(temperature) else tau * log_mean
        return KLWorstCase(value, q, tau)

    minima = batched_newton(
        _robust_loss(x, laws, adversary, implicit=False), np.zeros((len(laws), x.shape[1]))
    )
    losses = np.logaddexp(0, -minima.x @ x.T)
    worst = adversary(losses, laws)
    ratios = np.where(laws > 0, worst.weights / np.where(laws > 0, laws, 1), 1)
    divergence = (worst.weights * np.log(np.where(ratios > 0, ratios, 1))).sum(-1)
    primal = (worst.weights * losses).sum(-1) - (0 if np.isinf(temperature) else temperature * divergence)
    return KLFit(
        minima.x,
        worst.multiplier,
        primal,
        worst.value,
        minima.gradient,
        np.zeros(len(laws), bool),
        minima.solved,
    )


def _robust_loss(x: Array, laws: Array, adversary: _Adversary, implicit: bool):
    """The function theta -> value, gradient and Hessian of the adversary's value.

    `implicit` says that the multiplier depends on theta, as it does in a ball, and is not fixed.
    """

    def derivatives(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        margins = theta @ x.T
        losses = np.logaddexp(0, -margins)
        worst = adversary(losses, laws[rows])
        q, wrong = worst.weights, np.exp(-np.logaddexp(0, margins))
        gradient = -(q * wrong) @ x
        covariance = second_moments(q * wrong**2, x) - gradient[:, :, None] * gradient[:, None, :]
        if implicit:
            centred = losses - (q * losses).sum(-1, keepdims=True)
            c = -(q * wrong * centred) @ x
            variance = (q * centred**2).sum(-1)
            covariance -= c[:, :, None] * c[:, None, :] / np.where(variance > 0, variance, 1)[:, None, None]
        # At multiplier 0 only the worst atoms count, and their loss is smooth in theta.
        price = np.where(worst.multiplier > 0, 1 / np.where(worst.multiplier > 0, worst.multiplier, 1), 0)
        return (
            worst.value,
            gradient,
            second_moments(q * wrong * (1 - wrong), x) + price[:, None, None] * covariance,
        )

    return derivatives


def _best_scale(direction: Array, x: Array, laws: Array, adversary: _Adversary) -> Array:
    """The best of a grid of multiples of a direction along which the robust loss decreases from theta = 0."""
    unit = direction / np.abs(direction).max(-1, keepdims=True)
    candidates = np.stack([scale * unit for scale in 4.0 ** np.arange(2, -13, -1)])
    values = [adversary(np.logaddexp(0, -theta @ x.T), laws).value for theta in candidates]
    return candidates[np.argmin(values, 0), np.arange(len(laws))]
