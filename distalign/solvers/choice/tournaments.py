"""Rules that read who beats whom and by how much: Schulze, ranked pairs, and the population-proportional law.

The first two follow chains of majorities. Ties are never broken by the order of the alternatives: what ties
shares the probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.solvers.choice.certified import CertifiedPolicy, checked_win, normalised

_TIE = 1e-14


def schulze(win: ArrayLike) -> CertifiedPolicy:
    r"""The Schulze rule: uniform over the alternatives that no other reaches by a stronger path.

    A path of majorities is as strong as its weakest one, and S(x, y) is the strength of the strongest path
    from x to y. The winners are all x with S(x, y) >= S(y, x) for every y (within 1e-14). There is at least
    one. With P(x, y) + P(y, x) = 1 strength by votes in favour and by margins give the same winners.

    Args:
        win: (m, m) P(x preferred to y).

    Raises:
        InputError: not a win matrix.

    Source: M. Schulze, A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent
        single-winner election method, Social Choice and Welfare 36 (2011), Section 2.

    Example:
        >>> schulze([[0.5, 0.6, 0.45], [0.4, 0.5, 0.9], [0.55, 0.1, 0.5]]).policy.tolist()
        [1.0, 0.0, 0.0]
    """
    p = checked_win(win)
    strength = np.where(p > 0.5 + _TIE, p, 0.0)
    for via in range(len(p)):
        np.maximum(strength, np.minimum(strength[:, via, None], strength[None, via]), out=strength)
    np.fill_diagonal(strength, 0)
    return _uniform_over((strength >= strength.T - _TIE).all(1))


def ranked_pairs(win: ArrayLike) -> CertifiedPolicy:
    """Ranked pairs: majorities are locked from the largest down, unless they close a cycle.

    Majorities of equal size (within 1e-14) are looked at together: one of them is locked unless the others
    and those locked before lead back from its loser to its winner. So the order of alternatives never
    matters, and where sizes differ this is Tideman's rule. The winners are those that no locked majority
    beats, uniform if several.

    Args:
        win: (m, m) P(x preferred to y).

    Raises:
        InputError: not a win matrix.

    Source: T. N. Tideman, Independence of clones as a criterion for voting rules, Social Choice and Welfare 4
        (1987); looking at ties together is ours.

    Example:
        >>> ranked_pairs([[0.5, 0.6, 0.45], [0.4, 0.5, 0.9], [0.55, 0.1, 0.5]]).policy.tolist()
        [1.0, 0.0, 0.0]
    """
    p = checked_win(win)
    x, y = np.nonzero(p > 0.5 + _TIE)
    order = np.argsort(-p[x, y], kind="stable")
    x, y, size = x[order], y[order], p[x, y][order]
    locked, reach = np.zeros(p.shape, bool), np.eye(len(p), dtype=bool)
    start = 0
    while start < len(x):
        stop = start + int(np.searchsorted(-size[start:], -(size[start] - _TIE), side="right"))
        level = slice(start, stop)
        with_level = reach.copy()
        for a, b in zip(x[level], y[level], strict=True):
            _join(with_level, a, b)
        for a, b in zip(x[level], y[level], strict=True):
            if not with_level[b, a]:
                locked[a, b] = True
                _join(reach, a, b)
        start = stop
    return _uniform_over(~locked.any(0))


def _join(reach: NDArray[np.bool_], first: int, second: int) -> None:
    """Add an edge to a table of who reaches whom."""
    if not reach[first, second]:
        reach |= reach[:, first, None] & reach[None, second]


def population_proportional(win: ArrayLike) -> CertifiedPolicy:
    """The population-proportional policy: pi(x) proportional to the least share of users who prefer x to y.

    No more users than  min over y of P(x, y)  can rank x first, whoever the users are: this is the largest
    share of first choices that the comparisons allow. The policy gives each alternative its part of these
    bounds. Uniform where every bound is 0.

    Args:
        win: (m, m) P(x preferred to y).

    Raises:
        InputError: not a win matrix.

    Source: Kim, Zhang, Ozdaglar and Parrilo, arXiv 2506.05619: the policy proportional to the bounds; their
        soft-max relaxation is not in it.

    Example:
        >>> population_proportional([[0.5, 0.75], [0.25, 0.5]]).policy.tolist()
        [0.75, 0.25]
    """
    p = checked_win(win).copy()
    np.fill_diagonal(p, np.inf)
    least = p.min(1) if len(p) > 1 else np.ones(1)
    if not least.max() > 0:
        least = np.ones(len(p))
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log(least / least.sum()), 0.0, 0.0)


def _uniform_over(winners: ArrayLike) -> CertifiedPolicy:
    return CertifiedPolicy(normalised(np.where(winners, 0.0, -np.inf)), 0.0, 0.0)
