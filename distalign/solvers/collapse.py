"""When a Kullback-Leibler ball is so large that the robust optimum is the reference policy itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, positive
from distalign.solvers.kl_ball import tilted
from distalign.solvers.newton import minimise

Array = NDArray[np.float64]


def collapse_radius(v: ArrayLike, p: ArrayLike) -> Array:
    r"""The radius  -min over u of log E_P exp<u, v>  from which on the robust optimum is the reference policy itself.

    It is the least KL divergence from P of a law under which v has mean zero: against that law nothing beats theta = 0.
    Where no such law exists (separable data) it is infinite.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.

    Returns:
        (R,) radii in nats.

    Source: ours (information projection on zero mean; for a compact ball also necessary, by Sion's theorem).

    Example:
        >>> collapse_radius([[1.0], [-1.0]], [0.9, 0.1]).round(4).tolist()  # KL of a fair coin from 0.9
        [0.5108]
    """
    x, laws = atoms_and_laws(v, p, 1.0)
    return projection(x, laws)[1]


def projection(x: Array, laws: Array) -> tuple[Array, Array]:
    """argmin over u of log E_P exp<u, x>, and minus that minimum (infinite where no law has mean zero)."""

    def log_moment(u: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        value, q = tilted(u @ x.T, laws[rows], np.ones(len(u)))
        mean = q @ x
        return value, mean, second_moments(q, x) - mean[:, :, None] * mean[:, None, :]

    u = minimise(log_moment, np.zeros((len(laws), x.shape[1]))).x
    radius = -log_moment(u, np.arange(len(laws)))[0]
    smallest = np.where(laws > 0, laws, 1).min(-1)
    return u, np.where(radius > -np.log(smallest) + 1e-9, np.inf, radius)


def second_moments(weights: Array, x: Array) -> Array:
    """(R, d, d) sums of weights times x x^T."""
    m, d = x.shape
    return (weights @ (x[:, :, None] * x[:, None, :]).reshape(m, d * d)).reshape(-1, d, d)


def atoms_and_laws(v: ArrayLike, p: ArrayLike, beta: float) -> tuple[Array, Array]:
    """(m, d) beta times v and (R, m) laws, after a check of their shapes and of beta."""
    positive("beta", beta, "it scales the margin")
    v, p = np.asarray(v, float), np.atleast_2d(np.asarray(p, float))
    if v.ndim != 2 or p.ndim != 2 or p.shape[1] != len(v):
        raise InputError(f"p must hold one probability for each row of v, got v {v.shape} and p {p.shape}")
    return beta * v, p
