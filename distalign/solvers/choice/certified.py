"""A policy together with the proof that it solves its problem.

Source: ours; divergences and checks are textbook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError, at_least_0, reals
from distalign.types import Array

_WIN = "P(row is preferred to column) is a number in [0, 1]"
_TILE = 256  # rows and columns of a win matrix that are looked at together


@dataclass(frozen=True)
class CertifiedPolicy:
    """A distribution over m alternatives and a computed bound on how far from optimal it can be.

    Attributes:
        log_policy: (m,) natural logarithms of the probabilities; -inf where a rule excludes an alternative.
            Logarithms, because references of worst-case families put e^{-10^8} on an alternative.
        certificate: upper bound on what could still be gained, in the units of the problem (reward, or margin
            2P - 1).
        tolerance: the certificate that counts as solved, in the same units.
    """

    log_policy: Array
    certificate: float
    tolerance: float

    @property
    def policy(self) -> Array:
        """(m,) probabilities."""
        return np.exp(self.log_policy)

    @property
    def certified(self) -> bool:
        """Whether the certificate proves the solve; a policy that is not certified has no distortion."""
        return bool(self.certificate <= self.tolerance)

    def kl(self, log_reference: ArrayLike) -> float:
        """KL(policy || reference) in nats."""
        return divergence(self.log_policy, np.asarray(log_reference, float))


def kl_divergence(log_policy: ArrayLike, log_reference: ArrayLike) -> float:
    """sum_x p(x) (log p(x) - log q(x)) in nats for (m,) log-probabilities; 0 log 0 = 0, never below 0.

    Raises:
        InputError: either is no vector of log-probabilities, or their lengths differ.

    Example:
        >>> round(kl_divergence(np.log([0.5, 0.5]), np.log([0.25, 0.75])), 6)
        0.143841
    """
    p = checked_log_policy("log_policy", log_policy)
    return divergence(p, checked_log_policy("log_reference", log_reference, len(p)))


def divergence(log_policy: Array, log_reference: Array) -> float:
    """`kl_divergence` of arrays that were checked before.

    Example:
        >>> divergence(np.log([0.5, 0.5]), np.log([0.5, 0.5]))
        0.0
    """
    inside = log_policy > -np.inf
    ratio = log_policy[inside] - log_reference[inside]
    return max(float(np.exp(log_policy[inside]) @ ratio), 0.0)


def in_ball(log_policy: Array, log_reference: Array, budget: float) -> bool:
    """Whether KL(policy || reference) <= budget, up to rounding.

    Allowed are a share 1e-9 of the budget, and the rounding of log-probabilities, which may be as large as
    -10^8.

    Example:
        >>> in_ball(np.log([0.5, 0.5]), np.log([0.25, 0.75]), 0.14)
        False
    """
    rounding = 1e-9 + 1e-15 * float(np.abs(log_reference).max())
    return divergence(log_policy, log_reference) <= budget * (1 + rounding) + 1e-12


def normalised(log_weights: Array) -> Array:
    """Log-probabilities proportional to exp(log_weights); entries may be -inf, not all of them.

    Example:
        >>> normalised(np.array([0.0, -np.inf])).tolist()
        [0.0, -inf]
    """
    top = log_weights.max()
    return log_weights - (top + np.log(np.exp(log_weights - top).sum()))


def checked_log_policy(name: str, log_policy: ArrayLike, size: int | None = None) -> Array:
    """The argument as log-probabilities (m,), minus infinity allowed, whose exponentials sum to 1.

    Raises:
        InputError: wrong shape, NaN or plus infinity, or a sum that differs from 1 by more than 1e-6.

    Example:
        >>> checked_log_policy("log_policy", [0.0, -np.inf], 2).tolist()
        [0.0, -inf]
    """
    p = reals(name, log_policy, "(m,)", "give one log-probability for each alternative", infinite=True)
    if size is not None and p.shape != (size,):
        raise InputError(
            f"{name} must hold {size} log-probabilities, one for each alternative, got {p.shape}"
        )
    if not (p <= 1e-6).all() or not abs(np.exp(p).sum() - 1) <= 1e-6:
        raise InputError(f"{name} must be logarithms of probabilities of sum 1: subtract its logsumexp")
    return p


def checked_log_reference(log_reference: ArrayLike, size: int) -> Array:
    """The reference as an array of `size` finite log-probabilities whose exponentials sum to 1.

    Raises:
        InputError: wrong shape, an infinite entry (full support is assumed), or probabilities that do not sum
            to 1.

    Example:
        >>> checked_log_reference(np.log([0.25, 0.75]), 2).round(4).tolist()
        [-1.3863, -0.2877]
    """
    q = reals("log_reference", log_reference, "(m,)", "the reference policy has full support", infinite=True)
    if q.shape != (size,) or not np.isfinite(q).all():
        raise InputError(
            f"log_reference must hold {size} finite log-probabilities, one for each alternative, got shape "
            f"{q.shape}: the reference policy has full support; use -1e6 for a practically excluded one"
        )
    fixed = normalised(q)
    if not abs(q[0] - fixed[0]) <= 1e-6:
        raise InputError(
            f"log_reference sums to exp({q[0] - fixed[0]:.6g}) instead of 1: subtract its logsumexp"
        )
    return fixed


def checked_budget(kl_budget: float) -> float:
    """The KL budget, at least 0 nats and possibly infinite.

    Raises:
        InputError: negative or NaN.

    Example:
        >>> checked_budget(0.1)
        0.1
    """
    at_least_0("kl_budget", kl_budget, "it is in nats, infinity for no constraint")
    return float(kl_budget)


def checked_win(win: ArrayLike) -> Array:
    """The win matrix as an (m, m) array of probabilities with P + P' = 1.

    Raises:
        InputError: not square, out of [0, 1], or P + P' differs from 1 by more than 1e-9.

    Example:
        >>> checked_win([[0.5, 1.0], [0.0, 0.5]]).shape
        (2, 2)
    """
    return checked_game(win)[0]


def checked_game(win: ArrayLike) -> tuple[Array, float]:
    """`checked_win`, and the largest margin, the largest entry of P - P', in one pass over the matrix.

    Each tile above the diagonal is met together with its mirror image, while both are in the cache. A tile
    that holds NaN or an infinity does not add up to 1, so only a matrix that is refused is asked what is
    wrong with it.

    Raises:
        InputError: as `checked_win`.

    Example:
        >>> checked_game([[0.5, 0.75], [0.25, 0.5]])[1]
        0.5
    """
    plain = type(win) is np.ndarray and win.dtype == np.float64 and win.ndim == 2 and win.size > 0
    p = np.asarray(win) if plain else reals("win", win, "(m, m)", _WIN)
    if p.shape[0] != p.shape[1]:
        raise InputError(f"win must be a square matrix of P(row is preferred to column), got shape {p.shape}")
    margin = _largest_margin(p)
    if np.isnan(margin):
        reals("win", p, "(m, m)", _WIN)
        raise InputError("win must hold probabilities with win + win.T == 1 everywhere (1/2 on the diagonal)")
    return p, margin


def _largest_margin(p: Array) -> float:
    """The largest entry of P - P', up to 1e-9 above it; NaN where P is no win matrix.

    An entry of `tile` is 1 less one of `mirror`, so that only where the latter comes near 1 the former can be
    below 0.
    """
    margin, off, room = 0.0, 0.0, np.empty((_TILE, _TILE))
    for i in range(0, len(p), _TILE):
        for j in range(i, len(p), _TILE):
            tile = p[i : i + _TILE, j : j + _TILE]
            mirror = room[: tile.shape[0], : tile.shape[1]]
            np.copyto(mirror, p[j : j + _TILE, i : i + _TILE].T)
            low, high = float(mirror.min()), float(mirror.max())
            if high > 1 - 1e-8:
                low = min(low, float(tile.min()))
            mirror += tile
            least, most = float(mirror.min()), float(mirror.max())
            if not (low >= 0 and least >= 1 - 1e-9 and most <= 1 + 1e-9):
                return np.nan
            margin, off = max(margin, 1 - 2 * low, 2 * high - 1), max(off, 1 - least, most - 1)
    return margin + off
