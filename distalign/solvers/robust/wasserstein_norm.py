r"""WDPO of order 1 where features may move anywhere in R^d: logistic regression with a norm as its
regulariser.

With the transport cost |v - v'| the robust loss is

    E_P l + radius beta |theta|_*,                                                                         (1)

|.|_* the dual norm. The worst law does not exist; it is approached by sending a vanishing share of the mass
to infinity. If a label may flip at the cost kappa, the fit is, with t = beta <theta, v>,

    minimise  lam radius + E_P max{ l(t), l(-t) - kappa lam }   subject to  beta |theta|_* <= lam.         (2)

Both are solved by `distalign.solvers.robust.interior`.

The certificate. The logistic loss is a maximum, l(t) = max over a in [0, 1] of H(a) - a t, with the binary
entropy H. So

    E_Q H(a)                                                                                               (3)

is a lower bound of the optimum for any law Q of flips and any a for which the budget left after the flips is
at least the norm of E_Q a v.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, expit

from distalign.checks import InputError, above_0, moderate, one_of, positive
from distalign.solvers.robust import interior
from distalign.solvers.robust.collapse import (
    ORDERS,
    atoms_and_laws,
    euclidean_collapse_radius,
    warn_of_collapse,
)
from distalign.solvers.robust.wasserstein_fit import CERTIFIED, WassersteinFit, finished, least_loss
from distalign.types import Array

_DUAL = {"l2": "l2", "l1": "linf", "linf": "l1"}
_LARGEST = 12  # dimensions up to which the 2^d facets of the l1 ball are enumerated


def fit_norm(
    v: ArrayLike, p: ArrayLike, *, radius: float, beta: float = 1.0, norm: str = "l2"
) -> WassersteinFit:
    r"""argmin over theta of  sup { E_Q l : W_1(Q, P) <= radius } = E_P l + radius beta |theta|_*,  Q on R^d.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        radius: radius, in units of the norm of v, above 0.
        beta: scale of the margin, above 0.
        norm: cost of transport, "l2", "l1" or "linf"; the penalty is its dual norm.

    Returns:
        `worst_case` is (R, d), a direction of cost-norm 1: the law in which a share e of the mass has moved
        radius / e along it lies in the ball and its expected loss tends to `value` as e falls to 0.
        `multiplier` is beta |theta|_*.

    Raises:
        InputError: the shapes do not fit, radius or beta is not above 0, or the norm is unknown.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: arXiv 1509.09259 (logistic regression over a Wasserstein ball); arXiv 2502.01930 for the ball.

    Example: the root of  sigma(-theta) - 0.1 = 0.2.
        >>> found = fit_norm([[1.0], [-1.0]], [0.9, 0.1], radius=0.2)
        >>> round(found.theta.item(), 6)
        0.847298
    """
    return fit_norm_with_flips(v, p, radius=radius, flip_cost=np.inf, beta=beta, norm=norm)


def fit_norm_with_flips(
    v: ArrayLike, p: ArrayLike, *, radius: float, flip_cost: float, beta: float = 1.0, norm: str = "l2"
) -> WassersteinFit:
    r"""`fit_norm` where the adversary may also flip labels, v to -v, at the cost `flip_cost`: problem (2).

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one.
        p: (R, m) laws of the atoms, or (m,) for one.
        radius: radius, in units of the norm of v, above 0.
        flip_cost: kappa, in the same units, above 0; infinity is `fit_norm`.
        beta: scale of the margin, above 0.
        norm: cost of transport, "l2", "l1" or "linf".

    Returns:
        As `fit_norm`; `multiplier` is lam.

    Raises:
        InputError: as `fit_norm`, or flip_cost is not above 0.

    Source: arXiv 1509.09259, for the metric |x - x'| + kappa 1[y != y'].

    Example:
        >>> v, p = [[1.0], [-1.0]], [0.9, 0.1]
        >>> fit_norm_with_flips(v, p, radius=0.2, flip_cost=0.5).status.item()  # 0.4 of all labels could flip
        'collapsed'
    """
    positive(
        "radius",
        radius,
        "it is the largest transport distance, in units of |v|, of the laws to be robust against",
    )
    above_0("flip_cost", flip_cost, "infinity is for labels that never flip")
    moderate("radius", radius, "take other units of the features")
    if not np.isinf(flip_cost):
        moderate("flip_cost", flip_cost, "infinity is for labels that never flip")
    one_of("norm", norm, tuple(_DUAL))
    x, laws = atoms_and_laws(v, p, beta)
    cone, flips = _cone(norm, x.shape[1]), np.isfinite(flip_cost)
    moves = np.stack([x, -x] if flips else [x], 1)[None]
    cost = np.zeros(moves.shape[:3])
    cost[..., 1:] = flip_cost if flips else 0
    valid = np.repeat((laws > 0)[..., None], moves.shape[2], 2)
    out = None
    # In units of x = beta v the penalty is radius |theta|_* beta; the solver's cone is |theta|_* <= lam /
    # beta.
    for cautious in (False, True):
        pieces = interior.Pieces(moves, cost * beta, valid, laws, radius * beta)
        point = interior.solve(pieces, cone, cautious=cautious)
        new = _certified(point, x, laws, radius * beta, flip_cost * beta, norm, beta)
        out = new if out is None else _better(out, new)
        if (out.gap <= CERTIFIED).all():
            break
    assert out is not None
    if not flips and out.collapsed.all():
        warn_of_collapse(p, radius, euclidean_collapse_radius(v, p, order=1, norm=norm))
    return out


def _cone(norm: str, d: int) -> interior.Cone:
    """The cone |theta|_* <= lam for the dual |.|_* of the norm."""
    if norm == "l2":
        return interior.euclidean
    if norm == "l1":
        return interior.polyhedral(np.concatenate([np.eye(d), -np.eye(d)]))
    if d > _LARGEST:
        raise InputError(
            f"norm 'linf' enumerates 2^d signs and takes at most {_LARGEST} dimensions, got {d}: use 'l2'"
        )
    return interior.polyhedral(np.array(list(itertools.product([-1.0, 1.0], repeat=d))))


def _certified(
    found: interior.Point, x: Array, laws: Array, radius: float, flip_cost: float, norm: str, beta: float
) -> WassersteinFit:
    """The fits, with value (2), lower bound (3) and direction computed anew from theta.

    Everything is in units of x = beta v, where theta needs no beta.
    """
    margins = found.theta @ x.T
    dual_norm = np.linalg.norm(found.theta, ord=ORDERS[_DUAL[norm]], axis=1)
    lam = dual_norm if np.isinf(flip_cost) else np.maximum(found.lam, dual_norm)
    stay, flip = np.logaddexp(0, -margins), np.logaddexp(0, margins)
    worse = stay if np.isinf(flip_cost) else np.maximum(stay, flip - flip_cost * lam[:, None])
    value = lam * radius + (laws * worse).sum(1)
    flipped = laws * (found.shares[..., 1] if found.shares.shape[-1] > 1 else 0)
    spent = (flipped.sum(1) * flip_cost) if np.isfinite(flip_cost) else np.zeros(len(laws))
    flipped = flipped * np.minimum(1, radius / np.where(spent > 0, spent, radius))[:, None]
    left = radius - (flipped.sum(1) * flip_cost if np.isfinite(flip_cost) else 0)
    wrong = expit(-margins)
    pull = ((laws - flipped) * wrong - flipped * (1 - wrong)) @ x
    size = np.linalg.norm(pull, ord=ORDERS[norm], axis=1)
    # The chances a are shrunk by as little as makes the budget suffice.
    scale = np.minimum(1, left / np.where(size > 0, size, 1))[:, None]
    scale = np.where(size[:, None] > 0, scale, 1)
    chances, others = scale * wrong, scale * (1 - wrong)
    dual = (
        (laws - flipped) * (entr(chances) + entr(1 - chances)) + flipped * (entr(others) + entr(1 - others))
    ).sum(1)
    # Where the flips take the whole budget nothing is left for the norm: the flipped law's own minimum is the
    # bound then.
    dual = np.maximum(
        dual, least_loss(np.concatenate([x, -x]), np.concatenate([laws - flipped, flipped], 1), found.theta)
    )
    return finished(found.theta, value, dual, lam * beta, -pull / np.where(size > 0, size, 1)[:, None])


def _better(a: WassersteinFit, b: WassersteinFit) -> WassersteinFit:
    """The one of two attempts with the smaller gap, replicate by replicate."""
    take = b.gap < a.gap
    return WassersteinFit(
        *(
            np.where(take.reshape(-1, *[1] * (np.ndim(x) - 1)), y, x)
            for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
        )
    )
