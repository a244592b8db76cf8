"""Optimal transport between two weighted samples as a linear program (POT).

Source: Kantorovich's linear program (textbook), solved by POT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
from numpy.typing import ArrayLike

from distalign.arguments import FUNCTION, LAW, POSITIVE, REAL, checked
from distalign.checks import InputError, positive
from distalign.types import Array


@dataclass(frozen=True)
class Transport:
    """A solved transport problem.

    Attributes:
        cost: the least expected cost.
        plan: (n, m) optimal coupling; rows sum to p and columns to q.
        u_potential: (n,) dual potential of u.
        v_potential: (m,) dual potential of v; p.u_potential + q.v_potential = cost.
    """

    cost: float
    plan: Array
    u_potential: Array
    v_potential: Array


@checked(
    u=REAL.solvable.of("n"),
    v=REAL.solvable.of("m"),
    cost=FUNCTION,
    p=LAW.of("n").or_none,
    q=LAW.of("m").or_none,
)
def optimal_transport(
    u: ArrayLike,
    v: ArrayLike,
    cost: Callable[[Array], Array],
    p: ArrayLike | None = None,
    q: ArrayLike | None = None,
) -> Transport:
    r"""min over couplings G of (p, q) of  sum_ij G_ij h(u_i - v_j), for any h, by the network simplex.

    Nothing is assumed of h. Where it is convex the answer equals the sorted sum that AOT uses; where it is
    not, as for the 0/1 penalty, it does not.

    Args:
        u: (n,) values.
        v: (m,) values.
        cost: h, applied to the (n, m) matrix of differences u_i - v_j.
        p: (n,) weights of u of sum 1, or None for 1/n each.
        q: (m,) weights of v of sum 1, or None for 1/m each.

    Raises:
        InputError: u or v is not a vector, or the weights do not fit it.

    Source: Kantorovich's linear program; POT `ot.emd2`.

    Example:
        >>> answer = optimal_transport([0.0, 1.0], [3.0, 2.0], np.square)
        >>> answer.cost, answer.plan.tolist()
        (4.0, [[0.0, 0.5], [0.5, 0.0]])
    """
    u, v = np.asarray(u, float), np.asarray(v, float)
    a, b = _weights("p", p, u), _weights("q", q, v)
    value, log = ot.emd2(
        a, b, cost(u[:, None] - v[None, :]), log=True, return_matrix=True, numItermax=10_000_000
    )
    return Transport(float(value), log["G"], log["u"], log["v"])


@checked(
    u=REAL.solvable.of("n"),
    v=REAL.solvable.of("m"),
    cost=FUNCTION,
    p=LAW.of("n").or_none,
    q=LAW.of("m").or_none,
)
def transport_cost(
    u: ArrayLike,
    v: ArrayLike,
    cost: Callable[[Array], Array],
    p: ArrayLike | None = None,
    q: ArrayLike | None = None,
) -> float:
    """The cost alone of the problem that `optimal_transport` solves.

    Example:
        >>> round(transport_cost([0.0, 1.0], [0.5], np.abs, p=[0.2, 0.8]), 12)
        0.5
    """
    return optimal_transport(u, v, cost, p, q).cost


@checked(
    cost=REAL.solvable.of("n m"),
    p=LAW.of("n"),
    q=LAW.of("m"),
    strength=POSITIVE.solvable.meaning("it is the strength of the regularisation, in units of the cost"),
)
def entropic_plan(cost: ArrayLike, p: ArrayLike, q: ArrayLike, strength: float) -> Array:
    """The coupling G of (p, q) that minimises  sum_ij G_ij C_ij + strength KL(G || p q^T),  by POT.

    Args:
        cost: (n, m) costs C.
        p: (n,) law of the rows, positive.
        q: (m,) law of the columns, positive.
        strength: of the regularisation, in units of the cost, above 0.

    Raises:
        InputError: the strength is not positive.

    Source: Cuturi 2013, arXiv 1306.0895; POT `ot.sinkhorn`.

    Example:
        >>> entropic_plan([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.5], [0.5, 0.5], 1.0).round(6).tolist()
        [[0.365529, 0.134471], [0.134471, 0.365529]]
    """
    positive("strength", strength, "it is the strength of the regularisation, in units of the cost")
    a, b, c = (np.asarray(x, float) for x in (p, q, cost))
    return np.asarray(ot.sinkhorn(a, b, c, strength, numItermax=100_000, stopThr=1e-13), float)


def _weights(name: str, weights: ArrayLike | None, values: Array) -> Array:
    """The weights of the values, 1/n each by default, checked to be a distribution."""
    if values.ndim != 1 or not len(values):
        raise InputError(f"u and v must be non-empty vectors of values, got shape {values.shape}")
    w = np.full(len(values), 1 / len(values)) if weights is None else np.asarray(weights, float)
    if w.shape != values.shape or w.min() < 0 or abs(w.sum() - 1) > 1e-9:
        raise InputError(
            f"{name} must hold one non-negative weight for each value and sum to 1: divide it by its sum"
        )
    return w / w.sum()
