"""Paired AOT under the hinge, by linear programs along sorted couplings (HiGHS).

The hinge is piecewise linear, so Newton's method cannot minimise it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from distalign.arguments import LAW, REAL, checked
from distalign.types import Array

_NEARBY, _RELATIVE = 1e-6, 1e-12


@checked(
    margin=REAL.solvable.of("A"),
    delta=REAL.solvable.of("A d"),
    weights=LAW.of("A"),
    target=REAL.solvable,
    start=REAL.solvable.of("d"),
)
def hinge_minimum(
    margin: ArrayLike, delta: ArrayLike, weights: ArrayLike, target: float, start: ArrayLike
) -> tuple[Array, float]:
    r"""A low point in theta of  \int_0^1 (target - Q_U(t) + Q_V(t))_+ dt,  u_i = v_i + <delta_i, theta>.

    The cost is the least expected hinge over couplings of U and V, and for a given coupling it is a linear
    program in theta. Sorting at the last theta and solving that program cannot raise the cost, so the two
    steps alternate until the cost stays the same. Several couplings may be optimal there, so those sorted at
    points a little off theta along each axis are tried as well. No coupling is tried twice.

    Args:
        margin: (A,) v, the margins of the reference.
        delta: (A, d) change of each margin with theta.
        weights: (A,) masses of sum 1.
        target: what the quantiles of U should exceed those of V by.
        start: (d,) first theta; the answer depends on it, for there are many local minima.

    Returns:
        (theta, cost) of the lowest linear program.

    Source: ours.

    Example: one direction that lifts two margins and lowers a third, rarer one.
        >>> theta, cost = hinge_minimum([0.0, 0.0, 0.0], [[1.0], [1.0], [-1.0]], [0.4, 0.4, 0.2], 1.0, [0.1])
        >>> theta.round(9).tolist(), round(cost, 9)
        ([1.0], 0.4)
    """
    v, d, w, theta = (np.asarray(x, float) for x in (margin, delta, weights, start))
    offsets = _NEARBY * np.concatenate([np.eye(len(theta)), -np.eye(len(theta))])
    cost, waiting, met = np.inf, [theta], set()
    while waiting:
        i, j, widths = _sorted_coupling(v + d @ waiting.pop(), v, w)
        if (key := i.tobytes() + j.tobytes()) in met:
            continue
        met.add(key)
        point, value = _program(d[i], target - v[i] + v[j], widths)
        if value < cost - _RELATIVE:
            theta, cost = point, value
            waiting = [*(theta + offsets), theta]
    return theta, float(cost)


def _program(rows: Array, wanted: Array, widths: Array) -> tuple[Array, float]:
    """min over theta and s >= 0 of widths.s  subject to  rows theta + s >= wanted."""
    d = rows.shape[1]
    limits = csr_array(hstack([csr_array(-rows), -eye_array(len(rows))]))
    answer = linprog(
        np.concatenate([np.zeros(d), widths]),
        A_ub=limits,
        b_ub=-wanted,
        bounds=[(None, None)] * d + [(0, None)] * len(rows),
        method="highs",
    )
    if answer.status != 0:
        raise RuntimeError(f"HiGHS: {answer.message}")
    return answer.x[:d], float(answer.fun)


def _sorted_coupling(u: Array, v: Array, w: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Indices into u and v, and masses, of the comonotone coupling under the same weights."""
    iu, iv = np.argsort(u, kind="stable"), np.argsort(v, kind="stable")
    cu, cv = np.cumsum(w[iu]), np.cumsum(w[iv])
    ends = np.unique(np.concatenate([cu[:-1], cv[:-1], [1.0]]))
    widths = np.diff(ends, prepend=0.0)
    middles = ends - widths / 2
    positive = widths > 1e-14
    pick = [order[np.searchsorted(c[:-1], middles[positive])] for order, c in ((iu, cu), (iv, cv))]
    return pick[0], pick[1], widths[positive]
