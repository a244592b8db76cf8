"""Whether comparisons determine Bradley-Terry rewards, and which responses prevent it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from distalign.checks import InputError, reals

_FATES = {(False, False): "never met", (True, False): "never lost to", (False, True): "never won against"}


def require_connected(wins: ArrayLike) -> None:
    """Raise unless every response is reached from every other along wins (Ford's condition).

    Exactly then there is one finite Bradley-Terry fit, and with it one f-DPO minimiser over all policies,
    whatever the divergence. `distalign.solvers.bradley_terry.bradley_terry_rewards` flags the same condition
    for many tables at once.

    Args:
        wins: (K, K) non-negative; W_ij counts the wins of i over j. The diagonal is ignored.

    Raises:
        InputError: the table is misshapen, or some responses never lost to, never won against, or never met
            the others; the message names them.

    Source: Ford, "Solution of a ranking problem from binary comparisons", 1957.

    Example:
        >>> require_connected([[0, 1], [1, 0]])
        >>> require_connected([[0, 2, 1], [0, 0, 1], [0, 1, 0]])  # doctest: +NORMALIZE_WHITESPACE
        Traceback (most recent call last):
        distalign.checks.InputError: wins determine no rewards: response 0 never lost to the others;
        responses 1, 2 never won against the others. Compare them more, or leave them out
    """
    sentence = "wins must be a non-negative (K, K) table of how often row beat column: count the wins"
    w = reals("wins", wins, "(K, K)", "", sentence=sentence)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or not (w >= 0).all():
        raise InputError(
            f"wins must be a non-negative (K, K) table of how often row beat column, got shape {w.shape}"
        )
    edges = (w > 0) & ~np.eye(len(w), dtype=bool)
    components, component = connected_components(edges, connection="strong")
    if components == 1:
        return
    sentences = []
    for inside in (component == k for k in range(components)):
        fate = _FATES.get((bool(edges[inside][:, ~inside].any()), bool(edges[~inside][:, inside].any())))
        if fate:
            names = ", ".join(map(str, np.flatnonzero(inside)))
            sentences.append(f"response{'s' if inside.sum() > 1 else ''} {names} {fate} the others")
    raise InputError(
        f"wins determine no rewards: {'; '.join(sorted(sentences))}. Compare them more, or leave them out"
    )
