"""Maximal lotteries of antisymmetric games: a double oracle for few alternatives, an interior-point method
for many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs, lu_factor, lu_solve

from distalign.types import Array

_SOLVED = 1e-11
_FACTOR, _CONDITION, _SOLVE = get_lapack_funcs(("getrf", "gecon", "getrs"), dtype=np.float64)


def some_lottery(margins: Array) -> Array:
    """A maximal lottery by a double oracle that starts at the Borda winner.

    It solves the game on a growing set of alternatives and adds those that beat its solution most, until none
    does; from a fifth of the alternatives on it takes them all.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.

    Returns:
        (m,) probabilities with max M pi <= 1e-10, unless rounding forbids it.

    Source: McMahan, Gordon and Blum, ICML 2003 (the double oracle).

    Example:
        >>> some_lottery(np.array([[0, 1.0], [-1.0, 0]])).tolist()
        [1.0, 0.0]
    """
    size = len(margins)
    active = np.array([int(margins.sum(1).argmax())])
    while True:
        lottery = np.zeros(size)
        lottery[active] = interior_lottery(margins[np.ix_(active, active)]) if len(active) > 1 else 1
        pull = margins @ lottery
        pull[active] = 0
        better = np.argsort(-pull)[:8]
        better = better[pull[better] > 1e-10]
        if not len(better):
            return lottery
        active = np.append(active, better) if len(active) < max(size / 5, 24) else np.arange(size)


def interior_lottery(margins: Array) -> Array:
    r"""A lottery pi with  M pi <= 0, along the central path  pi_i s_i = mu,  s = nu - M pi > 0,  sum pi = 1.

    M is antisymmetric, so pi' s = nu = m mu: the problem is its own dual, nu is the duality gap, and the
    uniform lottery is feasible. The path ends as soon as the alternatives with pi_i > s_i are the support of
    an exact solution (`lottery_on`), or, where the solution is not unique, at nu <= 1e-11.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.

    Returns:
        (m,) probabilities; max M pi says how good they are.

    Source: the predictor and corrector of Mehrotra, SIAM Journal on Optimization 2(4), 1992; the form for
        antisymmetric
    games is ours.

    Example:
        >>> interior_lottery(np.array([[0, 1.0, -0.5], [-1.0, 0, 1.0], [0.5, -1.0, 0]])).round(9).tolist()
        [0.4, 0.2, 0.4]
    """
    size = len(margins)
    p = np.full(size, 1 / size)
    nu = float((margins @ p).max()) + 1 / size
    for _ in range(60):
        s = np.maximum(nu - margins @ p, 1e-16)
        exact = lottery_on(margins, p > s) if nu < 1 / size else None
        if exact is not None:
            return exact
        if nu <= _SOLVED:
            break
        step, fall = _predicted_and_corrected(margins, p, s)
        p, nu = p + step, nu + fall
    return p / p.sum()


def _predicted_and_corrected(margins: Array, p: Array, s: Array) -> tuple[Array, float]:
    """Changes of pi and nu: for a change c of pi * s,  (diag(s / pi) - M) dpi + dnu = c / pi  and  sum dpi =
    0.
    """
    d, mu = np.sqrt(p / s), float(p @ s) / len(p)
    factors = lu_factor(np.eye(len(p)) - d[:, None] * margins * d, overwrite_a=True, check_finite=False)
    of_nu = d * lu_solve(factors, d, check_finite=False)

    def towards(change: Array) -> tuple[Array, Array, float]:
        free = d * lu_solve(factors, d * change / p, check_finite=False)
        fall = float(free.sum() / of_nu.sum())
        step = free - fall * of_nu
        return step, (change - s * step) / p, fall

    dp, ds, _ = towards(-p * s)
    reach = _longest(p, s, dp, ds)
    centring = float((p + reach * dp) @ (s + reach * ds)) / len(p) / mu
    dp, ds, fall = towards(max(centring, 0.0) ** 3 * mu - p * s - dp * ds)
    length = 0.995 * _longest(p, s, dp, ds)
    return length * dp, length * fall


def _longest(p: Array, s: Array, dp: Array, ds: Array) -> float:
    """The longest step, at most 1, that keeps p and s at 0 or above."""
    return float(1 / max(1.0, (-dp / p).max(), (-ds / s).max()))


def lottery_on(margins: Array, support: NDArray[np.bool_]) -> Array | None:
    """The only maximal lottery, if it has this support: pi > 0 and M pi = 0 on it, M pi < 0 off it.

    None if there is no such lottery, or another one next to it, up to 1e-10.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.
        support: (m,) the guess, usually an odd number of alternatives.

    Source: strict complementarity in linear programs, for antisymmetric games; uniqueness is ours.

    Example:
        >>> lottery_on(np.array([[0, 1.0], [-1.0, 0]]), np.array([True, False])).tolist()
        [1.0, 0.0]
        >>> lottery_on(np.zeros((3, 3)), np.ones(3, bool)) is None
        True
    """
    on = np.flatnonzero(support)
    if len(on) % 2 == 0:
        return None  # the kernel of an antisymmetric matrix of even order has an even dimension
    system = np.ones((len(on) + 1, len(on) + 1))
    system[:-1, :-1], system[-1, -1] = margins[np.ix_(on, on)], 0
    norm = np.abs(system).sum(0).max()
    factors, pivots, _ = _FACTOR(system)
    if _CONDITION(factors, norm)[0] < 1e-10:
        return None
    lottery = np.zeros(len(margins))
    lottery[on] = _SOLVE(factors, pivots, np.eye(len(on) + 1)[-1])[0][:-1]
    pull = margins @ lottery
    unique = (
        lottery[on].min() > 1e-10
        and np.abs(pull[on]).max() <= _SOLVED
        and pull[~support].max(initial=-1) < -1e-10
    )
    return lottery / lottery.sum() if unique else None
