r"""KL-constrained NLHF among hundreds of alternatives, as a fixed point of the best reply in the ball.

Where the budget tau is spent, the equilibrium of the ball is its own best reply,

    p = softmax(log pi_ref + s g),   g = M p,   s such that KL(p || pi_ref) = tau.                         (1)

The right side, seen as a map of the tilt z = s g, costs one product with the win matrix and a search for s.
Near a solution its derivative is nearly antisymmetric, so plain iteration may circle. Anderson's method
replaces each image by the combination of the last images whose residuals cancel best, which for a linear map
is GMRES: it needs neither a derivative nor a step length, and lambda = 1 / s is found on the way.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from distalign.types import Array

_ROUNDS, _MEMORY = 80, 8
_CLOSE = 1e-11  # range of the residual of z at which the iteration ends
(_LEAST_SQUARES,) = get_lapack_funcs(("gels",), dtype=np.float64)


def own_best_reply(win: Array, log_reference: Array, budget: float) -> Array | None:
    """The log-policy (m,) of (1); None where the iteration finds none, as where the ball holds a lottery.

    Whether it is an equilibrium is the caller's to check.

    Args:
        win: (m, m) P, with P + P' = 1, so that M p = 2 P p - 1.
        log_reference: (m,) log pi_ref.
        budget: tau in nats, above 0 and finite.

    Source: Anderson, Journal of the ACM 12(4), 1965; Walker and Ni, SIAM Journal on Numerical Analysis 49(4),
        2011, for its relation to GMRES; the map is ours.

    Example:
        >>> p = np.exp(own_best_reply(np.array([[0.5, 0.75], [0.25, 0.5]]), np.log([0.5, 0.5]), 0.1))
        >>> p.round(6).tolist()
        [0.719795, 0.280205]
    """
    gains, root = _gains(win, np.exp(log_reference)), np.exp(log_reference / 2)
    s = float(np.sqrt(2 * budget / max(np.square(root * gains).sum(), 1e-300)))
    tilt, before = np.zeros(len(win)), None
    images, residuals = np.empty((2, _MEMORY, len(win)))  # their changes from round to round
    for k in range(_ROUNDS):
        found = _spent(log_reference, gains, budget, s)
        if found is None:
            return None
        s, log_policy = found
        image = s * gains
        residual = image - tilt
        if np.ptp(residual) <= _CLOSE:
            return log_policy
        tilt = image
        if before is not None:
            images[(k - 1) % _MEMORY], residuals[(k - 1) % _MEMORY] = image - before[0], residual - before[1]
            n = min(k, _MEMORY)
            share = _LEAST_SQUARES((residuals[:n] * root).T, residual * root)[1][:n]
            tilt = image - share @ images[:n]
        before = image, residual
        policy = np.exp(log_reference + tilt - (log_reference + tilt).max())
        gains = _gains(win, policy / policy.sum())
    return None


def _gains(win: Array, policy: Array) -> Array:
    """M p up to a constant, such that the policy's mean is 0."""
    gains = 2 * (win @ policy)
    return gains - policy @ gains


def _spent(q: Array, gains: Array, budget: float, s: float) -> tuple[float, Array] | None:
    """The s at which softmax(q + s gains) spends the budget, and that log-policy: Newton's method in log s.

    None where no s does, or rounding hides it.
    """
    for _ in range(30):
        log_policy = q + s * gains
        top = log_policy.max()
        weights = np.exp(log_policy - top)
        total = weights.sum()
        mean, square = weights @ gains / total, weights @ gains**2 / total
        level = top + np.log(total)
        kl, slope = s * mean - level, s**2 * (square - mean**2)  # the slope is that of kl in log s
        if not (kl > 0 and slope > 0 and s < 1e12):
            return None
        off = float(np.log(kl / budget))
        if abs(off) <= 1e-13 + 1e-15 * (1 + abs(level)) / budget:
            return s, log_policy - level
        s *= float(np.exp(np.clip(-off * kl / slope, -1, 1)))
    return None
