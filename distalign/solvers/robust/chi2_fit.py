"""Chi-square-robust DPO on a log-linear policy, exactly: Newton's method in theta for many data sets at once.

The loss of an atom is l = log(1 + exp(-beta <theta, v>)) as in `distalign.solvers.robust.kl_fit`, theta is
measured from the reference policy's parameter, and leading axes are replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.arguments import REAL, checked
from distalign.checks import positive
from distalign.solvers.batched_newton import batched_newton
from distalign.solvers.robust.chi2_ball import chi2_worst_case, moments
from distalign.solvers.robust.collapse import atoms_and_laws, second_moments, warn_of_collapse
from distalign.solvers.robust.kl_fit import fit_kl_temperature
from distalign.types import Array

_FURTHEST = 1e12


@dataclass(frozen=True)
class Chi2Fit:
    """Chi-square-robust fits, one for each replicate.

    Attributes:
        theta: (R, d) minimisers, measured from the reference policy's parameter.
        value: (R,) the robust loss there.
        gradient: (R,) Euclidean norm of the robust loss's gradient; 0 where the ball has collapsed.
        collapsed: (R,) the ball holds a law under which v has mean zero, so theta = 0 exactly.
        solved: (R,) Newton's method has converged or the ball has collapsed; False where no finite minimiser
            exists (separable data), or where the ball is so large that the robust loss is the largest loss
            and has a kink at its minimum.
    """

    theta: Array
    value: Array
    gradient: Array
    collapsed: NDArray[np.bool_]
    solved: NDArray[np.bool_]


def fit_chi2_ball(v: ArrayLike, p: ArrayLike, *, radius: float, beta: float = 1.0) -> Chi2Fit:
    r"""Chi-square-robust DPO: argmin over theta of  sup { E_Q l : E_P (dQ/dP - 1)^2 / 2 <= radius }.

    Where the worst law Q is unique the robust loss is differentiable. With A the atoms that Q keeps, P_A the
    law P on them, v_A = Var_A l, and s = dQ/dP's slope in l, its gradient is E_Q grad l and its Hessian  E_Q
    Hess l + s (Cov_A(grad l) - c c^T / v_A),  c = Cov_A(l, grad l). Newton's method starts where the
    loss is below log 2, so that it cannot end at the kink theta = 0.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms (empirical frequencies, say), or (m,) for one.
        radius: chi-square radius, above 0.
        beta: scale of the margin, above 0.

    Raises:
        InputError: the shapes differ, or radius or beta is not above 0.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: the ball is that of Sahu and Wells, arXiv 2509.19104 (abstract); the method is ours.

    Example: the worst law is sigma(theta), 0.1 away from 0.9 in units of 0.3 sqrt(2 radius).
        >>> fit = fit_chi2_ball([[1.0], [-1.0]], [[0.9, 0.1], [0.6, 0.4]], radius=0.05)
        >>> sigma = 0.9 - 0.3 * np.sqrt(2 * 0.05)
        >>> bool(abs(fit.theta[0, 0] - np.log(sigma / (1 - sigma))) < 1e-9), fit.collapsed.tolist()
        (True, [False, True])
    """
    positive("radius", radius, "it is the largest chi-square divergence of the laws to be robust against")
    x, laws = atoms_and_laws(v, p, beta)
    critical, tilt = _projection(x, laws)
    collapsed = radius >= critical
    if collapsed.all():
        warn_of_collapse(p, radius, critical)
    theta, gradient, solved = np.zeros((len(laws), x.shape[1])), np.zeros(len(laws)), collapsed.copy()
    rows = np.flatnonzero(~collapsed)
    if len(rows):
        minima = batched_newton(
            _robust_loss(x, laws[rows], radius), _start(x, laws[rows], tilt[rows], radius)
        )
        theta[rows], gradient[rows], solved[rows] = minima.x, minima.gradient, minima.solved
    value = chi2_worst_case(np.logaddexp(0, -theta @ x.T), laws, radius).value
    return Chi2Fit(theta, value, gradient, collapsed, solved)


@checked(v=REAL.of("m d"))
def chi2_collapse_radius(v: ArrayLike, p: ArrayLike) -> Array:
    r"""The least chi-square divergence E_P (dQ/dP - 1)^2 / 2 of a law Q under which v has mean zero.

    From this radius on the robust optimum is the reference policy itself. The dual is  -min over y and u of
    E_P (y + <u, v>)_+^2 / 2 - y + 1/2;  where all weights stay positive it is  mu' Sigma^-1 mu / 2  with the
    mean and covariance of v.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.

    Returns:
        (R,) radii; infinite where no law on the atoms closer than 1e12 has mean zero.

    Raises:
        InputError: the shapes do not fit, p is no law, or Newton's method did not end, as where features are
            of size 1e8 or 1e-8: divide v by its scale, on which the radius does not depend.

    Source: ours, as `distalign.solvers.robust.collapse.collapse_radius`.

    Example: a fair coin against 0.9, (0.4 / 0.3)^2 / 2.
        >>> chi2_collapse_radius([[1.0], [-1.0]], [0.9, 0.1]).round(9).tolist()
        [0.888888889]
    """
    return _projection(*atoms_and_laws(v, p, 1.0))[0]


def _projection(x: Array, laws: Array) -> tuple[Array, Array]:
    """The collapse radii (R,), and u (R, d) of the nearest law of mean zero, P (y + <u, x>)_+."""
    z = np.column_stack([np.ones(len(x)), x])

    def dual(at: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        w = np.maximum(at @ z.T, 0)
        q = laws[rows] * w
        gradient = q @ z
        gradient[:, 0] -= 1
        return (q * w).sum(-1) / 2 - at[:, 0], gradient, second_moments(laws[rows] * (w > 0), z)

    minima = batched_newton(dual, np.tile(np.eye(z.shape[1])[:1], (len(laws), 1)))
    radii = -dual(minima.x, np.arange(len(laws)))[0] - 0.5
    # dQ/dP is at most 1 / min P, so no law that exists lies further away than this.
    furthest = np.minimum(0.5 / np.where(laws > 0, laws, np.inf).min(-1), _FURTHEST)
    return np.where(radii > furthest, np.inf, np.where(minima.solved, radii, np.nan)), minima.x[:, 1:]


def _start(x: Array, laws: Array, tilt: Array, radius: float) -> Array:
    """The best of some multiples of DPO's solution and of the direction that undoes the tilt."""
    dpo = fit_kl_temperature(x, laws, temperature=np.inf).theta
    back = -tilt / np.abs(tilt).max(-1, keepdims=True)
    scales = 2.0 ** np.arange(3, -14, -1)
    candidates = np.stack([*(s * dpo for s in scales[3:]), *(s * back for s in scales)])
    values = chi2_worst_case(np.logaddexp(0, -candidates @ x.T), laws, radius).value
    return candidates[values.argmin(0), np.arange(len(laws))]


def _robust_loss(x: Array, laws: Array, radius: float):
    """The function theta -> robust loss, gradient and Hessian."""

    def derivatives(theta: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        margins = theta @ x.T
        losses, p = np.logaddexp(0, -margins), laws[rows]
        worst = chi2_worst_case(losses, p, radius)
        q, wrong = worst.weights, np.exp(-np.logaddexp(0, margins))
        kept = np.where(q > 0, p, 0)
        mass, mean, variance = moments(losses, kept)
        kept = kept / mass[:, None]
        price = np.maximum(2 * radius * mass - np.where(q > 0, 0, p).sum(-1), 0)
        slope = np.sqrt(price / np.where(variance > 0, variance, np.inf))
        of_mean = -(kept * wrong) @ x
        c = -(kept * wrong * (losses - mean[:, None])) @ x
        spread = second_moments(kept * wrong**2, x) - of_mean[:, :, None] * of_mean[:, None, :]
        spread -= c[:, :, None] * c[:, None, :] / np.where(variance > 0, variance, np.inf)[:, None, None]
        hessian = second_moments(q * wrong * (1 - wrong), x) + slope[:, None, None] * spread
        return worst.value, -(q * wrong) @ x, hessian

    return derivatives
