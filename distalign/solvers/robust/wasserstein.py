r"""Robust DPO over a Wasserstein ball: one function for every ball, which chooses the method.

The problem is always  min over theta of  sup { E_Q l : W_order(Q, P) <= radius },  where
l = log(1 + exp(-beta <theta, v>)) is the loss of an atom. What differs is where the worst law Q may live: on
the atoms alone, at distances that the caller gives, or anywhere in R^d. Each case has a method of its own, in
a module of its own; all of them return a certificate.

Source: arXiv 2502.01930, WDPO on its log-linear class; the methods are named in their modules.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from distalign.checks import InputError, one_of, positive
from distalign.checks import laws as checked_laws
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_fit import WassersteinFit
from distalign.solvers.robust.wasserstein_norm import fit_norm
from distalign.solvers.robust.wasserstein_replicates import fit_replicates

# One law costs a step of `fit_replicates` all pairs of atoms, and constraint generation a few moves an atom:
# measured on one core, the first is two to five times as fast up to 80 atoms and slower from 150 on.
_FEW_ATOMS = 100


def fit(
    v: ArrayLike,
    p: ArrayLike,
    cost: ArrayLike | None = None,
    *,
    radius: float,
    beta: float = 1.0,
    order: float = 1.0,
    norm: str | None = None,
) -> WassersteinFit:
    r"""argmin over theta of  sup { E_Q l : W_order(Q, P) <= radius },  for one law P or many.

    The ball and the size of the problem choose the method:

    * With `cost`, Q lives on the atoms of v. Two or more laws of at most 100 atoms are solved by
      `distalign.solvers.robust.wasserstein_replicates.fit_replicates`, an interior-point method over all
      pairs of atoms. One law, or a larger space, is solved by
      `distalign.solvers.robust.wasserstein_finite.fit_finite`, which generates the constraints it needs.
    * Without `cost` and of order 1, Q lives on R^d and mass moves at the price of `norm`:
      `distalign.solvers.robust.wasserstein_norm.fit_norm`. (Labels that may flip as well are
      `fit_norm_with_flips` there.)
    * Without `cost` and of order 2, Q lives on R^d with the Euclidean norm:
      `distalign.solvers.robust.wasserstein_euclidean.fit_euclidean`.

    Args:
        v: (m, d) features of the chosen response minus those of the rejected one, one row an atom.
        p: (R, m) laws of the atoms, or (m,) for one.
        cost: (m, m) d**order between atoms, zero on the diagonal and symmetric; None for a ball on R^d.
        radius: radius of the ball in units of d, or of the norm of v, above 0.
        beta: scale of the margin, above 0.
        order: order of the distance: at least 1 with `cost`, 1 or 2 without.
        norm: on R^d of order 1, the cost of transport "l2" (the default), "l1" or "linf"; of order 2 only
            "l2". A ball with `cost` takes none.

    Returns:
        The fits with their certificates. `worst_case` is the chosen method's: the law on the atoms (R, m),
        the direction in which mass escapes (R, d), or the distances that the atoms move (R, m).

    Raises:
        InputError: `norm` is given with `cost`, the order or the norm has no method on R^d, or whatever the
            chosen method refuses.

    Warns:
        CollapseWarning: one law (m,) is given and the radius reaches its collapse radius, which the warning
            names.

    Source: arXiv 2502.01930, WDPO on its log-linear class; the methods are ours.

    Example:
        >>> v, p = [[1.0], [-1.0]], [0.9, 0.1]
        >>> fit(v, p, [[0.0, 2.0], [2.0, 0.0]], radius=0.2).theta.round(6).tolist()  # the two atoms alone
        [[1.386294]]
        >>> fit(v, p, radius=0.2).theta.round(6).tolist()  # anywhere on the line, order 1
        [[0.847298]]
        >>> fit(v, p, radius=0.1, order=2).theta.round(4).tolist()  # anywhere on the line, order 2
        [[1.9152]]
    """
    if norm is not None:
        one_of("norm", norm, ("l2", "l1", "linf"))
    if cost is not None:
        if norm is not None:
            raise InputError(
                f"norm must be left out where cost is given, got {norm!r}: cost already says how far apart "
                "the atoms are; leave out cost for a ball on R^d"
            )
        laws = checked_laws("p", p, "(..., m)").shape
        many_small_laws = len(laws) == 2 and laws[0] > 1 and laws[1] <= _FEW_ATOMS
        method = fit_replicates if many_small_laws else fit_finite
        return method(v, p, cost, radius=radius, beta=beta, order=order)
    positive("order", order, "1 and 2 have a method on R^d")
    if order == 1:
        return fit_norm(v, p, radius=radius, beta=beta, norm="l2" if norm is None else norm)
    if order != 2:
        raise InputError(
            f"order must be 1 or 2 for a ball on R^d, got {order!r}: give cost, the distances between the "
            "atoms to the power order, for a ball of another order"
        )
    if norm not in (None, "l2"):
        raise InputError(f"norm must be 'l2' for order 2, got {norm!r}: take order=1 for this norm")
    return fit_euclidean(v, p, radius=radius, beta=beta)
