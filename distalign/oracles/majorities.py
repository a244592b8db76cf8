"""Whether a reward orders every pair as its majority does, by a linear program (HiGHS)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.arguments import WIN, checked
from distalign.types import Array


@checked(win=WIN)
def ordering_reward(win: ArrayLike) -> Array | None:
    """A reward that orders every pair as its majority does, by a linear program (HiGHS), or None if there is
    none.

    It asks for  r_x - r_y >= 1  wherever  P(x, y) > 1/2, for any other gap is a matter of scale.

    Args:
        win: (m, m) P(x preferred to y).

    Returns:
        (m,) reward of least 0.

    Source: ours; the question is that of Liu et al., arXiv 2503.10990.

    Example:
        >>> ordering_reward([[0.5, 0.6], [0.4, 0.5]]).tolist()
        [1.0, 0.0]
        >>> ordering_reward([[0.5, 0.6, 0.4], [0.4, 0.5, 0.6], [0.6, 0.4, 0.5]]) is None
        True
    """
    p = np.asarray(win, float)
    winner, loser = np.nonzero(p > 0.5)
    gaps = np.zeros((len(winner), len(p)))
    gaps[np.arange(len(winner)), winner], gaps[np.arange(len(winner)), loser] = -1, 1
    solved = linprog(np.ones(len(p)), A_ub=gaps, b_ub=-np.ones(len(winner)), method="highs")
    if solved.status not in (0, 2):
        raise RuntimeError(f"HiGHS decided neither way: {solved.message}")
    return solved.x if solved.status == 0 else None
