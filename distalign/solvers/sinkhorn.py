"""Entropic transport by Sinkhorn's iterations, for many pairs of laws on the same atoms at once.

Source: Cuturi 2013, arXiv 1306.0895 (textbook).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, positive
from distalign.types import Array

_LARGEST = 650.0  # of costs in units of the strength: exp(-708) is the least number of float64


@dataclass(frozen=True, eq=False)
class EntropicTransport:
    """Solved problems, one for each pair of laws.

    Attributes:
        value: (R,) least of the transport cost plus strength times the divergence from independence.
        transport: (R,) transport cost of the optimal plan, without its divergence.
        u_potential: (R, n) potential f, in units of the cost; its mean is part of the value.
        v_potential: (R, m) potential g; value = p.f + q.g.
        converged: (R,) whether the rows of the plan sum to p up to the tolerance, in total variation.
    """

    value: Array
    transport: Array
    u_potential: Array
    v_potential: Array
    converged: NDArray[np.bool_]


def sinkhorn(
    cost: ArrayLike,
    p: ArrayLike,
    q: ArrayLike,
    strength: float,
    *,
    tolerance: float = 1e-9,
    max_steps: int = 10_000,
) -> EntropicTransport:
    r"""min over couplings G of (p, q) of  sum_ij G_ij C_ij + strength KL(G || p q^T).

    The optimal plan is G_ij = p_i exp((f_i + g_j - C_ij) / strength) q_j. Sinkhorn's iterations set g such
    that the columns sum to q, then f such that the rows sum to p, and so on. All pairs share the atoms, so
    one iteration is two matrix products. Potentials are defined on atoms without weight too.

    Args:
        cost: (n, m) finite costs C, whose range is at most 650 times the strength.
        p: (n,) or (R, n) laws.
        q: (m,) or (R, m) laws.
        strength: of the regularisation, in units of the cost, above 0.
        tolerance: largest distance of the sums of rows from p, in total variation.
        max_steps: iterations after which a pair counts as not converged.

    Raises:
        InputError: cost is not a finite matrix, a law does not fit it, or the strength is too small for it.

    Example:
        >>> solved = sinkhorn([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.5], [0.5, 0.5], 1.0)
        >>> solved.transport.round(6).tolist(), bool(solved.converged.all())
        ([0.268941], True)
    """
    c, laws, others = _arrays(cost, p, q, strength)
    kernel = np.exp(-(c - c.min()) / strength)
    a = np.ones_like(laws)
    b = np.ones_like(others)
    error = np.full(len(laws), np.inf)
    for step in range(max_steps):
        b = 1 / ((laws * a) @ kernel)
        scaled = (others * b) @ kernel.T
        if step % 8 == 7:  # the test costs as much as a product where laws are many
            error = np.abs(laws * (a * scaled - 1)).sum(1) / 2
            if (error <= tolerance).all():
                break
        a = 1 / scaled
    f, g = strength * np.log(a) + c.min(), strength * np.log(b)
    transport = (((laws * a) @ (kernel * c)) * (others * b)).sum(1)
    value = (laws * f).sum(1) + (others * g).sum(1)
    return EntropicTransport(value, transport, f, g, error <= tolerance)


def _arrays(cost: ArrayLike, p: ArrayLike, q: ArrayLike, strength: float) -> tuple[Array, Array, Array]:
    """The cost, and as many laws p as laws q."""
    positive("strength", strength, "it is the strength of the regularisation, in units of the cost")
    c = np.asarray(cost, float)
    if c.ndim != 2 or not c.size or not np.isfinite(c).all():
        raise InputError(f"cost must be a finite matrix (n, m), got shape {c.shape}: give one cost a pair")
    if np.ptp(c) > _LARGEST * strength:
        raise InputError(
            f"strength must be at least {np.ptp(c) / _LARGEST:.3g} for these costs, got {strength}: "
            "exp(-cost / strength) underflows below; sort instead, which is the limit 0"
        )
    laws = [np.atleast_2d(np.asarray(x, float)) for x in (p, q)]
    for name, law, size in zip("pq", laws, c.shape, strict=True):
        if law.ndim != 2 or law.shape[1] != size or not np.isfinite(law).all() or (law < 0).any():
            raise InputError(f"{name} must hold {size} non-negative weights a law, one an atom of the cost")
        if not np.allclose(law.sum(1), 1, rtol=0, atol=1e-9):
            raise InputError(f"{name} must sum to 1: divide it by its sum")
    rows = np.broadcast_shapes(laws[0].shape[:1], laws[1].shape[:1])
    return c, np.broadcast_to(laws[0], rows + c.shape[:1]), np.broadcast_to(laws[1], rows + c.shape[1:])
