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
from distalign.solvers.robust.kl_large import MANY, Optimum, optimum_on_many
from distalign.types import Array

_TINY = 1e-6  # radii below which the multiplier is so large that the dual loses its digits
_LEAST = 1e-90  # multipliers that the dual is asked about; its derivatives hold their third power
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

    The dual  lam radius + lam log E_P exp(l / lam)  is convex in theta and the multiplier lam together, and
    Newton's method minimises it over both, on thousands of atoms as `kl_large` says. Where that does not
    settle, lam is an implicit function of theta.
    At the worst law Q the gradient is then E_Q grad l and the Hessian E_Q Hess l + (Cov_Q(grad l) - c c^T /
    Var_Q(l)) / lam,  c = Cov_Q(grad l, l).

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
    if len(x) >= MANY and radius >= _TINY:
        found = [optimum_on_many(x, law, radius) for law in laws]
        if None not in found:
            return _as_fit([optimum for optimum in found if optimum is not None])

    def adversary(losses: Array, p: Array) -> KLWorstCase:
        return kl_worst_case(losses, p, radius)

    theta, gradient, solved = _joint_newton(x, laws, radius)
    collapsed = np.zeros(len(laws), bool)
    if not solved.all():
        hard = np.flatnonzero(~solved)
        u, critical = projection(x, laws[hard])
        collapsed[hard] = radius >= critical
        if collapsed.all():
            warn_of_collapse(p, radius, critical)
        theta[collapsed], gradient[collapsed], solved[collapsed] = 0, 0, True
        u, hard = u[radius < critical], hard[radius < critical]
        if len(hard):
            start = _best_scale(-u, x, laws[hard], adversary)
            minima = batched_newton(_robust_loss(x, laws[hard], adversary), start)
            theta[hard], gradient[hard], solved[hard] = minima.x, minima.gradient, minima.solved
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

    minima = batched_newton(_at_temperature(x, laws, temperature), _common_start(x, laws, temperature))
    losses = _losses_and_slopes(minima.x @ x.T)[0]
    tau = np.full(len(losses), temperature)
    log_mean, q = tilted(losses, laws, 1 / tau)
    value = (laws * losses).sum(-1) if np.isinf(temperature) else tau * log_mean
    primal = (q * losses).sum(-1)
    if np.isfinite(temperature):
        ratios = np.divide(q, laws, out=np.ones_like(q), where=q > 0)
        primal -= temperature * (q * np.log(ratios)).sum(-1)
    return KLFit(
        minima.x,
        tau,
        primal,
        value,
        minima.gradient,
        np.zeros(len(laws), bool),
        minima.solved,
    )


def _as_fit(optima: list[Optimum]) -> KLFit:
    """The optima of several laws, none of them collapsed, as one fit."""
    z = np.stack([optimum.z for optimum in optima])
    primal, dual, gradient = np.array([[o.primal, o.dual, o.gradient] for o in optima]).T
    none = np.zeros(len(z), bool)
    return KLFit(z[:, :-1], z[:, -1], primal, dual, gradient, none, ~none)


def _common_start(x: Array, laws: Array, tau: float) -> Array:
    """A Newton step of each law from the minimiser of the laws' mean, if its margins are moderate, else 0.

    Minimisers of many samples of one law are two or three steps away from it. There the laws have the losses
    in common, so their gradients and Hessians are one product of matrices. A step that moves a margin by 1 or
    more is left out.
    """
    start = np.zeros((len(laws), x.shape[1]))
    if len(laws) == 1:
        return start
    of_mean = batched_newton(_at_temperature(x, laws.mean(0, keepdims=True), tau), start[:1])
    center, d = of_mean.x[0], x.shape[1]
    if not of_mean.solved[0] or np.abs(x @ center).max() >= 10:
        return start
    losses, wrong = _losses_and_slopes(x @ center)
    q = np.exp((losses - losses.max()) / tau)[:, None]
    gradients = -wrong[:, None] * x
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    curvatures = (wrong * (1 + wrong * (1 / tau - 1)))[:, None] * outer
    sums = laws @ np.hstack([q, q * gradients, q * curvatures])
    sums /= np.maximum(sums[:, :1], 1e-300)
    gradient, hessian = sums[:, 1 : d + 1], sums[:, d + 1 :].reshape(-1, d, d)
    hessian = hessian - gradient[:, :, None] * gradient[:, None, :] / tau
    ridge = 1e-13 * np.trace(hessian, axis1=-2, axis2=-1)[:, None, None] + 1e-250
    step = np.linalg.solve(hessian + ridge * np.eye(d), gradient[:, :, None])[:, :, 0]
    short = np.abs(step @ x.T).max(-1) < 1
    return center - np.where(short[:, None], step, 0)


def _losses_and_slopes(margins: Array) -> tuple[Array, Array]:
    """log(1 + e^-margin), and minus its derivative, by one exponential."""
    if margins.min(initial=0) > -700:  # the exponential does not overflow
        wrong = np.exp(-margins)
        total = 1 + wrong
        wrong /= total
        return np.log(total, out=total), wrong
    e = np.exp(-np.abs(margins))
    larger = 1 / (1 + e)
    return np.maximum(-margins, 0) - np.log(larger), np.where(margins > 0, e * larger, larger)


def _at_temperature(x: Array, laws: Array, tau: float):
    """The function theta -> tau log E_P exp(l / tau), its gradient and Hessian; tau infinite is E_P l."""
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)

    def derivatives(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        losses, wrong = _losses_and_slopes(theta @ x.T)
        p = laws if len(rows) == len(laws) else laws[rows]
        if np.isinf(tau):
            q, value = p, (p * losses).sum(-1)
        elif losses.max() < 500 * tau:  # no exponential overflows
            q = np.exp(losses / tau)
            q *= p
            total = q.sum(-1)
            q /= total[:, None]
            value = tau * np.log(total)
        else:
            log_mean, q = tilted(losses, p, np.full(len(theta), 1 / tau))
            value = tau * log_mean
        slope = q * wrong
        gradient = -slope @ x
        wrong *= 1 / tau - 1
        wrong += 1
        wrong *= slope
        hessian = (wrong @ outer).reshape(len(theta), *2 * x.shape[1:])
        return value, gradient, hessian - gradient[:, :, None] * gradient[:, None, :] / tau

    return derivatives


def _robust_loss(x: Array, laws: Array, adversary: _Adversary):
    """The function theta -> value, gradient and Hessian of the adversary's value, whose multiplier depends on
    theta.
    """

    def derivatives(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        margins = theta @ x.T
        losses = np.logaddexp(0, -margins)
        worst = adversary(losses, laws[rows])
        q, wrong = worst.weights, np.exp(-np.logaddexp(0, margins))
        gradient = -(q * wrong) @ x
        covariance = second_moments(q * wrong**2, x) - gradient[:, :, None] * gradient[:, None, :]
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


def _joint_newton(x: Array, laws: Array, radius: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Theta, the gradient's norm and whether it is solved, by Newton's method on the dual in (theta, lam).

    The start is a multiple of DPO's first Newton step. Only laws for which the dual is below log 2 there are
    tried, for they cannot have collapsed, and no radius whose multiplier would cost the dual its digits.
    """
    count, d = len(laws), x.shape[1]
    theta, gradient, solved = np.zeros((count, d)), np.zeros(count), np.zeros(count, bool)
    if radius < _TINY:
        return theta, gradient, solved
    moments = second_moments(laws, x)
    ridge = 1e-12 * np.trace(moments, axis1=-2, axis2=-1)[:, None, None] * np.eye(d) + 1e-250 * np.eye(d)
    first = 2 * np.linalg.solve(moments + ridge, (laws @ x)[:, :, None])[:, :, 0]
    dual = _dual(x, laws, radius)
    starts = np.stack(
        [np.append(s * first, _multiplier(s * first, x, laws, radius), 1) for s in (1, 0.5, 0.1)]
    )
    values = np.stack([dual(start, np.arange(count))[0] for start in starts])
    best = starts[values.argmin(0), np.arange(count)]
    rows = np.flatnonzero(values.min(0) < np.log(2) - 1e-9)
    if len(rows):
        minima = batched_newton(_dual(x, laws[rows], radius), best[rows])
        good = minima.solved & (minima.x[:, -1] > 0)
        theta[rows[good]], gradient[rows[good]] = minima.x[good, :-1], minima.gradient[good]
        solved[rows[good]] = True
    return theta, gradient, solved


def _multiplier(theta: Array, x: Array, laws: Array, radius: float) -> Array:
    """(R, 1) multipliers of a small ball around P: the deviation of the losses over sqrt(2 radius)."""
    losses = np.logaddexp(0, -theta @ x.T)
    variance = (laws * (losses - (laws * losses).sum(-1, keepdims=True)) ** 2).sum(-1, keepdims=True)
    return np.sqrt(variance / (2 * radius)) + 1e-6


def _dual(x: Array, laws: Array, radius: float):
    """The function (theta, lam) -> lam radius + lam log E_P exp(l / lam), its gradient and Hessian; infinite
    below the least multiplier.
    """
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)

    def derivatives(z: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        allowed = z[:, -1] > _LEAST
        theta, lam = z[:, :-1], np.where(allowed, z[:, -1], 1)
        losses, wrong = _losses_and_slopes(theta @ x.T)
        log_mean, q = tilted(losses, laws[rows], 1 / lam)
        mean = (q * losses).sum(-1)
        value = np.where(allowed, lam * (radius + log_mean), np.inf)
        slope, price = q * wrong, 1 / lam[:, None]
        centred = losses - mean[:, None]
        d = x.shape[1]
        gradient, hessian = np.empty((len(z), d + 1)), np.empty((len(z), d + 1, d + 1))
        gradient[:, :d], gradient[:, d] = -slope @ x, radius + log_mean - mean / lam
        inner = (slope * (1 - wrong + wrong * price)) @ outer
        hessian[:, :d, :d] = inner.reshape(-1, d, d)
        hessian[:, :d, :d] -= price[:, :, None] * gradient[:, :d, None] * gradient[:, None, :d]
        hessian[:, :d, d] = hessian[:, d, :d] = (slope * centred) @ x / lam[:, None] ** 2
        hessian[:, d, d] = (q * centred**2).sum(-1) / lam**3
        return value, gradient, hessian

    return derivatives


def _best_scale(direction: Array, x: Array, laws: Array, adversary: _Adversary) -> Array:
    """The best of a grid of multiples of a direction along which the robust loss decreases from theta = 0."""
    unit = direction / np.abs(direction).max(-1, keepdims=True)
    candidates = np.stack([scale * unit for scale in 4.0 ** np.arange(2, -13, -1)])
    values = [adversary(np.logaddexp(0, -theta @ x.T), laws).value for theta in candidates]
    return candidates[np.argmin(values, 0), np.arange(len(laws))]
