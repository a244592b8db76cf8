"""The dual of one-dimensional optimal transport.

The optimal potentials are cumulative derivatives of the penalty along the sorted coupling. They are what the
central limit of the transport cost (`distalign.theory.aot.transport`) and the gradient of a fitted policy
(`distalign.theory.aot.excess`) are made of.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import FUNCTION, LAW, REAL, checked
from distalign.types import Array


@checked(u=REAL.of("n"), v=REAL.of("m"), penalty=FUNCTION, p=LAW.of("n"), q=LAW.of("m"))
def potentials(
    u: ArrayLike, v: ArrayLike, penalty: Callable[[Array], Array], p: ArrayLike, q: ArrayLike
) -> tuple[Array, Array]:
    """Optimal potentials phi, psi of the dual:  max p.phi + q.psi  subject to  phi_i + psi_j <= h(u_i - v_j).

    h is convex, so the coupling is the sorted one, T = Q_V o F_U, and

        dphi(x) = h'(x - T(x)) dx,   dpsi(y) = -h'(T^{-1}(y) - y) dy.                       (1)

    Both quantile functions are constant between their breakpoints. The integral of h' from u_i to u_{i+1}
    against a fixed v_j is therefore h(u_{i+1} - v_j) - h(u_i - v_j), and both potentials are sums of such
    differences along the staircase of pairs (i, j) that the sorted coupling visits. They are unique up to one
    constant (here psi = 0 at the smallest v) unless cumulative weights of u and v meet before the end.

    Args:
        u: (n,) values.
        v: (m,) values.
        penalty: h, elementwise.
        p: (n,) weights of u of sum 1.
        q: (m,) weights of v of sum 1.

    Returns:
        (phi, psi) of shapes (n,), (m,), in the order of u and v.

    Source: arXiv 2406.05882 (its duality, with the c-transform phi^c(y) = inf_x h(x - y) - phi(x)); the
        discrete form is ours.

    Example: u = 3 meets v = 0 and v = 1, so phi + psi = h on both.
        >>> phi, psi = potentials([3.0], [1.0, 0.0], np.square, [1.0], [0.5, 0.5])
        >>> phi.tolist(), psi.tolist()
        ([9.0], [-5.0, 0.0])
    """
    u, v, p, q = (np.asarray(x, float) for x in (u, v, p, q))
    iu, iv = np.argsort(u), np.argsort(v)
    # the staircase: each step moves on in u or in v, whichever cumulative weight ends first
    breakpoints = np.concatenate([np.cumsum(p[iu])[:-1], np.cumsum(q[iv])[:-1]])
    moves_u = np.argsort(breakpoints, kind="stable") < len(u) - 1
    i = np.concatenate([[0], np.cumsum(moves_u)])
    values = penalty(u[iu][i] - v[iv][np.arange(len(i)) - i])
    steps = np.diff(values)  # the integrals of Eq. (1) between breakpoints
    phi, psi = np.empty_like(u), np.empty_like(v)
    phi[iu] = values[0] + np.concatenate([[0.0], np.cumsum(steps[moves_u])])
    psi[iv] = np.concatenate([[0.0], np.cumsum(steps[~moves_u])])
    return phi, psi
