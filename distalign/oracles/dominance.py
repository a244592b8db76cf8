"""The nearest law that dominates another, as a linear program over couplings (HiGHS)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.arguments import LAW, POSITIVE, REAL, checked
from distalign.checks import InputError
from distalign.types import Array

_POWER = replace(POSITIVE, words="from {low:g} to {high:g}", remedy="2 is usual", low=1, high=10)


@dataclass(frozen=True)
class Dominating:
    """The nearest law that dominates, with its cost.

    Attributes:
        cost: least W_p^p(U, U').
        support: (G,) ascending values U' was allowed to take.
        weights: (G,) probabilities of U' on them.
    """

    cost: float
    support: Array
    weights: Array


@checked(
    u=REAL.solvable.of("n"),
    v=REAL.solvable.of("m"),
    power=_POWER,
    p=LAW.of("n"),
    q=LAW.of("m"),
    support=REAL.solvable.of("G"),
)
def nearest_dominating(
    u: ArrayLike, v: ArrayLike, power: float, p: ArrayLike, q: ArrayLike, support: ArrayLike
) -> Dominating:
    r"""min over laws U' on `support` that dominate V of W_p^p(U, U'), with no use of quantiles or sorting.

    Variables G_ig >= 0 couple U with U': \sum_g G_ig = p_i, cost \sum_ig G_ig |u_i - s_g|^power; dominance is
    F_U'(s) <= F_V(s) at every point s of the support.

    Args:
        u: (n,) values of U.
        v: (m,) values of V.
        power: p of W_p, at least 1.
        p: (n,) weights of u of sum 1.
        q: (m,) weights of v of sum 1.
        support: (G,) values U' may take; with all of u and v among them the least cost over all laws is
            attained.

    Raises:
        InputError: no law on the support dominates V, or the program was not solved.

    Source: first-order dominance as in arXiv 2406.05882; the program is ours.

    Example: half of U's mass must move from 0 to 1.
        >>> found = nearest_dominating([0.0, 2.0], [1.0], 2.0, [0.5, 0.5], [1.0], [0.0, 1.0, 2.0])
        >>> round(found.cost, 9), found.weights.round(9).tolist()
        (0.5, [0.0, 0.5, 0.5])
    """
    u, v, p, q = (np.asarray(x, float) for x in (u, v, p, q))
    s = np.unique(np.asarray(support, float))
    rows = np.kron(np.eye(len(u)), np.ones(len(s)))
    cumulative = np.tile(np.tril(np.ones((len(s), len(s)))), len(u))
    limits = (v[None, :] <= s[:, None]) @ q
    cost = np.abs(u[:, None] - s) ** power
    # Atoms 1e-4 apart differ in squared cost by 1e-8, less than the default tolerance of 1e-7 would see.
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    solution = linprog(
        cost.ravel(), A_ub=cumulative, b_ub=limits, A_eq=rows, b_eq=p, method="highs", options=tight
    )
    if solution.status != 0:
        raise InputError(
            f"no dominating law was found ({solution.message}): put the largest value of v into support"
        )
    return Dominating(float(solution.fun), s, solution.x.reshape(cost.shape).sum(0))
