"""How well the worst law of a ball still covers the features: the constant of the paper's regularity
assumption.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import nonnegative, whole
from distalign.solvers.robust import kl_ball, wasserstein_ball
from distalign.solvers.robust.collapse import atoms_and_laws, second_moments
from distalign.types import Array

_STARTS = 256
_ROUNDS = 200


def regularity_number(
    v: ArrayLike,
    p: ArrayLike,
    *,
    radius: float,
    cost: ArrayLike | None = None,
    order: float = 1.0,
    seed: int = 0,
) -> tuple[float, Array]:
    r"""The least smallest eigenvalue of E_Q[v v^T] over laws Q of the ball, and the law that attains it.

    The paper writes lambda(radius). The smallest eigenvalue is concave in Q, so its minimum over a convex
    ball is not a convex problem. Two steps alternate, from 256 random directions u: the law that minimises
    E_Q <u, v>^2, which is a worst case of the ball for the losses -<u, v>^2, and the eigenvector of the
    smallest eigenvalue under that law. Each step lowers the value. The least of the 256 limits is returned.
    The law attains it, so lambda is at most this, and it is the minimum if one start led there. An
    overestimate of lambda makes the bound that uses it smaller, and hence the test harder.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (m,) law of the atoms.
        radius: radius of the ball; 0 gives the smallest eigenvalue under P itself.
        cost: (m, m) d**order between atoms for a Wasserstein ball; None for a KL ball.
        order: order of the Wasserstein distance.
        seed: seed of the directions.

    Raises:
        InputError: the shapes do not fit, the radius is negative, or `cost` and `order` describe no ball.

    Source: arXiv 2502.01930, Assumption 2 (which asks for lambda > 0); how to compute it is ours.

    Example: the law moves towards the atom with the smaller feature.
        >>> value, law = regularity_number([[1.0], [0.5]], [0.5, 0.5], radius=0.1)
        >>> round(value, 4), law.round(4).tolist()
        (0.4602, [0.2802, 0.7198])
    """
    x, laws = atoms_and_laws(v, p, 1.0)
    whole("seed", seed, 0, "it seeds the directions")
    nonnegative("radius", radius, "it is the size of the ball of laws; 0 is the law itself")
    if radius == 0:
        return float(np.linalg.eigvalsh(second_moments(laws, x)[0])[0]), laws[0]
    u = np.random.default_rng(seed).normal(size=(_STARTS, x.shape[1]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    q, value = laws, np.full(_STARTS, np.inf)
    for _ in range(_ROUNDS):
        losses = -((u @ x.T) ** 2)
        if cost is None:
            q = kl_ball.kl_worst_case(losses, laws, radius).weights
        else:
            q = wasserstein_ball.wasserstein_worst_case(
                losses, laws, cost, radius=radius, order=order
            ).weights
        eigenvalues, vectors = np.linalg.eigh(second_moments(q, x))
        u, old, value = vectors[:, :, 0], value, eigenvalues[:, 0]
        if (old - value < 1e-12).all():
            break
    best = int(value.argmin())
    return float(value[best]), q[best]
