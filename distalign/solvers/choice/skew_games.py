r"""Maximal lotteries of antisymmetric games: a double oracle for few alternatives, an interior-point method
for many.

A maximal lottery of an antisymmetric margin matrix M is a distribution pi that no alternative beats,

    M pi <= 0,   pi >= 0,   sum pi = 1.                                                                    (1)

The central path. With the level nu and the slacks s = nu - M pi, the path asks for

    pi_i s_i = mu  for every alternative i,   s > 0,   pi > 0,   sum pi = 1.                               (2)

Because M is antisymmetric, pi' M pi = 0, and so

    pi' s = nu = m mu:                                                                                     (3)

the game is its own dual, nu is both the level and the duality gap, and as mu falls to 0 the lottery tends to
a solution of (1). The uniform lottery is a feasible start. A step is Newton's for (2), with the sum kept: for
a wanted change c of the products pi_i s_i,

    (diag(s / pi) - M) dpi + dnu 1 = c / pi,   sum dpi = 0.                                                (4)

With D = diag(sqrt(pi / s)) the matrix of (4) becomes I - D M D, the identity less an antisymmetric matrix,
which is never singular; one factorisation serves all right sides. Mehrotra's method uses it twice. The
predictor takes c = -pi s, aims at mu = 0, and shows how far one can go. The corrector aims at the mu that
this suggests, and includes the product of the predicted changes, which (4) leaves out.

The end. As soon as the alternatives with pi_i > s_i are the support of a solution, that solution is computed
exactly, by one linear system, and the path ends (`lottery_on`). Where the solution is not unique the path is
followed until nu is 1e-11.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from distalign.types import Array

_SOLVED = 1e-11
_FACTOR, _CONDITION, _SOLVE = get_lapack_funcs(("getrf", "gecon", "getrs"), dtype=np.float64)


def some_lottery(win: Array, scale: float = 2.0, strong: NDArray[np.intp] | None = None) -> Array:
    """A maximal lottery by a double oracle that starts at the Borda winner.

    The game is solved on a growing set of alternatives. Those that beat its solution most are added, until
    none beats it. Once the set holds a fifth of the alternatives (and at least 24), it becomes all of them.
    Only the margins of the alternatives in the set are ever computed.

    Args:
        win: (m, m) a matrix P; the margins are M = (P - P') / scale.
        scale: largest entry of P - P', above 0; 2 if `win` holds the margins themselves.
        strong: alternatives that are likely to matter, the first one in place of the Borda winner; they join
            the set together, if the first one is beaten.

    Returns:
        (m,) probabilities with max M pi <= 1e-10, unless rounding forbids it.

    Source: McMahan, Gordon and Blum, ICML 2003 (the double oracle).

    Example:
        >>> some_lottery(np.array([[0.5, 0.75], [0.25, 0.5]]), 0.5).tolist()
        [1.0, 0.0]
    """
    size = len(win)
    strong = np.array([int(win.sum(1).argmax())]) if strong is None else strong
    active = strong[:1]
    while True:
        lottery = np.zeros(size)
        among = win[np.ix_(active, active)]
        lottery[active] = interior_lottery((among - among.T) / scale) if len(active) > 1 else 1
        gains = pull(win, lottery) / scale
        gains[active] = 0
        better = np.argsort(-gains)[:8]
        better = better[gains[better] > 1e-10]
        if not len(better):
            return lottery
        if len(active) == 1:
            better = np.append(better, np.setdiff1d(strong[1:], better))
        active = np.append(active, better) if len(active) < max(size / 5, 24) else np.arange(size)


def pull(win: Array, lottery: Array) -> Array:
    """What each alternative wins against a lottery, (P - P') pi, from the columns of its support alone.

    Args:
        win: (m, m) P.
        lottery: (m,) probabilities.

    Source: textbook.

    Example:
        >>> pull(np.array([[0.5, 0.75], [0.25, 0.5]]), np.array([1.0, 0.0])).tolist()
        [0.0, -0.5]
    """
    on = np.flatnonzero(lottery)
    return (win[:, on] - win[on].T) @ lottery[on]


def interior_lottery(margins: Array) -> Array:
    r"""A maximal lottery (1), along the central path (2).

    The path ends as soon as the alternatives with pi_i > s_i are the support of an exact solution
    (`lottery_on`), or, where the solution is not unique, at nu <= 1e-11.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.

    Returns:
        (m,) probabilities; max M pi says how good they are.

    Source: the predictor and corrector of Mehrotra, SIAM Journal on Optimization 2(4), 1992; the form for
        antisymmetric games is ours.

    Example:
        >>> interior_lottery(np.array([[0, 1.0, -0.5], [-1.0, 0, 1.0], [0.5, -1.0, 0]])).round(9).tolist()
        [0.4, 0.2, 0.4]
    """
    size = len(margins)
    p = np.full(size, 1 / size)
    nu = float((margins @ p).max()) + 1 / size
    for _ in range(60):
        s = np.maximum(nu - margins @ p, 1e-16)
        # Does the support that shows by now belong to an exact solution?
        exact = lottery_on(margins, p > s) if nu < 1 / size else None
        if exact is not None:
            return exact
        if nu <= _SOLVED:
            break
        step, fall = _predicted_and_corrected(margins, p, s)
        p, nu = p + step, nu + fall
    return p / p.sum()


def _predicted_and_corrected(margins: Array, p: Array, s: Array) -> tuple[Array, float]:
    """The changes of pi and nu in one step of Mehrotra's method, which solves (4) twice."""
    d, mu = np.sqrt(p / s), float(p @ s) / len(p)
    factors, pivots, _ = _FACTOR(np.eye(len(p)) - d[:, None] * margins * d, overwrite_a=True)
    # The change of pi for dnu = -1 alone, with which the sum is kept.
    of_nu = d * _SOLVE(factors, pivots, d)[0]

    def towards(change: Array) -> tuple[Array, Array, float]:
        """dpi, ds and dnu of (4) for a wanted change c of the products."""
        free = d * _SOLVE(factors, pivots, d * change / p)[0]
        fall = float(free.sum() / of_nu.sum())
        step = free - fall * of_nu
        return step, (change - s * step) / p, fall

    dp, ds, _ = towards(-p * s)  # the predictor
    reach = _longest(p, s, dp, ds)
    centring = float((p + reach * dp) @ (s + reach * ds)) / len(p) / mu
    # The corrector: a mu smaller by the cube of what the predictor leaves of the gap.
    dp, ds, fall = towards(max(centring, 0.0) ** 3 * mu - p * s - dp * ds)
    length = 0.995 * _longest(p, s, dp, ds)
    return length * dp, length * fall


def _longest(p: Array, s: Array, dp: Array, ds: Array) -> float:
    """The longest step, at most 1, that keeps p and s at 0 or above."""
    return float(1 / max(1.0, (-dp / p).max(), (-ds / s).max()))


def lottery_on(margins: Array, support: NDArray[np.bool_]) -> Array | None:
    """The only maximal lottery, if it has this support: pi > 0 and M pi = 0 on it, M pi < 0 off it.

    None if no lottery has this support, or if another one lies next to it, up to 1e-10.

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
