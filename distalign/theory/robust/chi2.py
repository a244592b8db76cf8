r"""What theory predicts for chi-square-robust DPO: the standard-deviation form, its edge, and the limit law.

The ball holds the laws Q with  E_P (dQ/dP - 1)^2 / 2 <= rho,  and the loss of an atom is  l = log(1 +
exp(-beta <theta, v>)).  The robust loss is the least value over eta of the dual

    F(theta, eta) = eta + sqrt(1 + 2 rho) sqrt(E_P (l - eta)_+^2),                                         (1)

which is convex in theta and eta together. The minimiser is that of a smooth function of means under P, so
with n draws it errs by n^{-1/2}, with a constant that (1) gives by the delta method.

Source: the dual is Duchi and Namkoong's, arXiv 1810.08750 (from memory); that robust preference losses reach
the parametric rate is said by Sahu and Wells, arXiv 2509.19104 (abstract); constant and edge are ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from distalign.arguments import LAW, POSITIVE, POSITIVE_LAW, REAL, checked, spanning
from distalign.types import Array


def _all_equal(losses: Array) -> str:
    """A relation: some two losses differ."""
    return (
        ""
        if np.ptp(np.asarray(losses, float)) > 0
        else "losses must not all be equal: no law is worse than p"
    )


@checked(losses=REAL.of("m"), p=LAW.of("m"), radius=POSITIVE)
def standard_deviation_form(losses: Array, p: Array, radius: float) -> float:
    """E_P l + sqrt(2 rho Var_P l): the robust loss, as long as rho is at most `standard_deviation_edge`.

    Args:
        losses: (m,) losses.
        p: (m,) law of the atoms.
        radius: rho.

    Source: the inequality of Cauchy and Schwarz, with equality at dQ/dP linear in l.

    Example:
        >>> round(standard_deviation_form(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 0.02), 12)
        0.6
    """
    mean = p @ losses
    return float(mean + np.sqrt(2 * radius * (p @ (losses - mean) ** 2)))


@checked(_all_equal, losses=REAL.of("m"), p=POSITIVE_LAW.of("m"))
def standard_deviation_edge(losses: Array, p: Array) -> float:
    """Var_P l / (2 (E_P l - min l)^2): the radius at which the best atom has lost all its weight.

    Below it the worst law has density  1 + sqrt(2 rho / Var_P l) (l - E_P l),  whose least value is  1 -
    sqrt(rho / edge).

    Args:
        losses: (m,) losses, not all equal.
        p: (m,) law of the atoms, all positive.

    Source: ours, elementary.

    Example:
        >>> standard_deviation_edge(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
        0.5
    """
    mean = p @ losses
    return float(p @ (losses - mean) ** 2 / (2 * (mean - losses.min()) ** 2))


@checked(
    spanning,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    start=REAL.of("d"),
    radius=replace(POSITIVE, low=1e-12),
    beta=POSITIVE,
)
def chi2_optimum(v: Array, p: Array, start: Array, radius: float, beta: float = 1.0) -> tuple[Array, float]:
    """The minimiser (theta, eta) of (1), by a trust-region method that knows nothing of the worst law.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        start: (d,) where the search begins: DPO's solution, say.
        radius: rho, above 0 and below the collapse radius.
        beta: scale of the margin.

    Returns:
        ((d,) theta, eta).

    Source: ours.

    Example: the worst law of two atoms lies sqrt(2 rho) standard deviations away.
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> theta, _ = chi2_optimum(v, p, np.array([np.log(9)]), 0.05)
        >>> bool(abs(expit(theta[0]) - 0.9 + 0.3 * np.sqrt(0.1)) < 1e-8)
        True
    """
    losses = np.logaddexp(0, -beta * v @ start)
    first = p @ losses - np.sqrt(p @ (losses - p @ losses) ** 2 / (2 * radius))
    found = minimize(
        lambda z: _dual(z, v, p, radius, beta)[0],
        np.append(start, first),
        jac=lambda z: _dual(z, v, p, radius, beta)[1],
        hess=lambda z: _dual(z, v, p, radius, beta)[2],
        method="trust-exact",
        options={"gtol": 1e-10, "maxiter": 1000},
    )
    return found.x[:-1], float(found.x[-1])


@checked(
    spanning,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta=REAL.of("d"),
    threshold=REAL,
    radius=POSITIVE,
    beta=POSITIVE,
)
def chi2_covariance(
    v: Array, p: Array, theta: Array, threshold: float, radius: float, beta: float = 1.0
) -> Array:
    """Limit covariance (d, d) of sqrt(n) (theta_n - theta), eta being estimated along.

    With phi = (l - eta)_+^2, r = sqrt(E phi) and k = sqrt(1 + 2 rho) the gradient of (1) is k E grad phi /
    (2 r) plus the unit vector of eta. An atom changes it by k (grad phi / (2 r) - phi E grad phi / (4 r^3)),
    less the mean of that, and the covariance is the sandwich with the Hessian of (1). No atom may have l =
    eta.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) law of the atoms.
        theta, threshold: the minimiser of (1), as `chi2_optimum` gives it.
        radius: rho.
        beta: scale of the margin.

    Source: ours, by the delta method.

    Example: sigma(theta_n) = q - sqrt(2 rho q (1 - q)) for a share q of 0.9, by its derivative.
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> theta, eta = chi2_optimum(v, p, np.array([np.log(9)]), 0.05)
        >>> s = 0.9 - 0.3 * np.sqrt(0.1)
        >>> slope = (1 + np.sqrt(0.1) * 0.8 / 0.6) / (s * (1 - s))
        >>> round(chi2_covariance(v, p, theta, eta, 0.05).item() / float(0.09 * slope**2), 6)
        1.0
    """
    z = np.append(theta, threshold)
    _, _, hessian = _dual(z, v, p, radius, beta)
    excess, gradients = _excess(z, v, beta)
    phi, jacobian = excess**2, 2 * excess[:, None] * gradients
    r, norm = np.sqrt(p @ phi), np.sqrt(1 + 2 * radius)
    influence = norm * (jacobian / (2 * r) - np.outer(phi, p @ jacobian) / (4 * r**3))
    influence = influence - p @ influence
    inverse = np.linalg.inv(hessian)
    return (inverse @ (influence.T @ (p[:, None] * influence)) @ inverse)[:-1, :-1]


def _excess(z: Array, v: Array, beta: float) -> tuple[Array, Array]:
    """(l - eta)_+ (m,) and the gradient (m, d + 1) of l - eta."""
    margins = beta * v @ z[:-1]
    excess = np.maximum(np.logaddexp(0, -margins) - z[-1], 0)
    return excess, np.column_stack([-beta * expit(-margins)[:, None] * v, -np.ones(len(v))])


def _dual(z: Array, v: Array, p: Array, radius: float, beta: float) -> tuple[float, Array, Array]:
    """F of (1) at z = (theta, eta), its gradient and Hessian."""
    excess, gradients = _excess(z, v, beta)
    r, norm = np.sqrt(p @ excess**2), np.sqrt(1 + 2 * radius)
    if r == 0:
        return float(z[-1]), np.append(np.zeros(len(z) - 1), 1.0), np.eye(len(z))
    half = (p * excess) @ gradients
    margins = beta * v @ z[:-1]
    hessian = gradients.T @ ((p * (excess > 0))[:, None] * gradients)
    bend = p * excess * expit(margins) * expit(-margins) * beta**2
    hessian[:-1, :-1] += v.T @ (bend[:, None] * v)
    gradient = norm * half / r
    gradient[-1] += 1
    return float(z[-1] + norm * r), gradient, norm * (hessian / r - np.outer(half, half) / r**3)
