"""Entropic transport by Sinkhorn's iterations, for many pairs of laws on the same atoms at once.

Source: Cuturi 2013, arXiv 1306.0895 (textbook).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, laws, moderate, positive, reals, whole
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
    positive("tolerance", tolerance, "1e-9 is enough for nine digits of the value")
    whole("max_steps", max_steps, 8, "the rows are looked at every eight iterations")
    c, first, others = _arrays(cost, p, q, strength)
    kernel = np.exp(-(c - c.min()) / strength)
    a = np.ones_like(first)
    b = np.ones_like(others)
    error = np.full(len(first), np.inf)
    for step in range(max_steps):
        b = 1 / ((first * a) @ kernel)
        scaled = (others * b) @ kernel.T
        if step % 8 == 7:  # the test costs as much as a product where first are many
            error = np.abs(first * (a * scaled - 1)).sum(1) / 2
            if (error <= tolerance).all():
                break
        a = 1 / scaled
    f, g = strength * np.log(a) + c.min(), strength * np.log(b)
    transport = (((first * a) @ (kernel * c)) * (others * b)).sum(1)
    value = (first * f).sum(1) + (others * g).sum(1)
    return EntropicTransport(value, transport, f, g, error <= tolerance)


def _arrays(cost: ArrayLike, p: ArrayLike, q: ArrayLike, strength: float) -> tuple[Array, Array, Array]:
    """The cost, and as many laws p as laws q."""
    positive("strength", strength, "it is the strength of the regularisation, in units of the cost")
    c = reals("cost", cost, "(n, m)", "give one cost for each pair of atoms")
    moderate("cost", c, "take other units")
    if np.ptp(c) > _LARGEST * strength:
        raise InputError(
            f"strength must be at least {np.ptp(c) / _LARGEST:.3g} for these costs, got {strength}: "
            "exp(-cost / strength) underflows below; sort instead, which is the limit 0"
        )
    found = []
    for name, law, size in (("p", p, c.shape[0]), ("q", q, c.shape[1])):
        found.append(np.atleast_2d(laws(name, law, "(..., m)")))
        if found[-1].ndim != 2 or found[-1].shape[1] != size:
            raise InputError(f"{name} must hold {size} weights a law, one an atom, got {found[-1].shape}")
    if 1 not in (len(found[0]), len(found[1])) and len(found[0]) != len(found[1]):
        raise InputError(f"p and q must hold as many laws, or one, got {len(found[0])} and {len(found[1])}")
    rows = (max(len(found[0]), len(found[1])),)
    return c, np.broadcast_to(found[0], rows + c.shape[:1]), np.broadcast_to(found[1], rows + c.shape[1:])
