"""Projection on the permutahedron as a quadratic program over doubly stochastic matrices (cvxpy)."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import REAL, checked
from distalign.checks import InputError
from distalign.types import Array


@checked(target=REAL.solvable.of("n"), values=REAL.solvable.of("n"))
def project_on_permutahedron(target: ArrayLike, values: ArrayLike) -> Array:
    r"""The projection  argmin { ||x - target||^2 : x = P values, P doubly stochastic }  on the permutahedron.

    By Birkhoff's theorem x ranges over the permutahedron of `values`.

    Args:
        target: (n,) point to project.
        values: (n,) vector whose permutations are the corners; n up to a dozen or so.

    Raises:
        InputError: lengths differ, or the solver did not reach an optimum.

    Source: Birkhoff-von Neumann; the soft sort it checks is that of arXiv 2002.08871.

    Example:
        >>> for target in ([4.0, 2.0], [40.0, 2.0]):
        ...     project_on_permutahedron(target, [1.0, 9.0]).round(6).tolist()
        [6.0, 4.0]
        [9.0, 1.0]
    """
    z, w = np.asarray(target, float), np.asarray(values, float)
    if z.shape != w.shape or w.ndim != 1:
        raise InputError(
            f"target and values must be two vectors of one length, got shapes {z.shape} and {w.shape}"
        )
    # Shifted and scaled, so that the solver's tolerances are relative to the range of the values.
    scale = float(np.ptp(w)) or 1.0
    plan = cp.Variable((len(w), len(w)), nonneg=True)
    point = plan @ ((w - w.mean()) / scale)
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(point - (z - w.mean()) / scale)),
        [cp.Zero(cp.sum(plan, 0) - 1), cp.Zero(cp.sum(plan, 1) - 1)],
    )
    # The distance to the optimum is only the root of the gap, so the default gap of 1e-8 would leave 1e-4.
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-11)
    if problem.status != cp.OPTIMAL or point.value is None:
        raise InputError(
            f"the projection was not found ({problem.status}): scale the target to the size of the values"
        )
    return np.asarray(point.value) * scale + w.mean()
