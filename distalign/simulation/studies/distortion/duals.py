"""The dual inequalities behind upper bounds on distortion, checked for single users on a grid of utilities.

Each inequality holds for every user, so its mean over users holds too, and that mean is the bound.
Violations are given as shares of the bound.
"""

from __future__ import annotations

import numpy as np

from distalign.populations import win_matrix
from distalign.theory.distortion.constants import borda_multipliers, unsupported_multiplier

LEVELS = 61


def grid_margins(bt_temperature: float) -> np.ndarray:
    """(k, k) P - 1/2 of one user whose utilities are k levels from 0 to 1."""
    return win_matrix(np.linspace(0, 1, LEVELS)[None], [1.0], bt_temperature) - 0.5


def borda_violation(margin: np.ndarray, bt_temperature: float, *, equal: bool = False) -> float:
    """Largest violation of a + v [s(b (c - y)) - s(b (a - y))] + w s(b (c - y)) <= t c.

    The multipliers v, w and t are `borda_multipliers`.
    """
    v, w, t = borda_multipliers(bt_temperature, equal=equal)
    u = np.linspace(0, 1, len(margin))
    # On the axes (a, y, c) these are s(b (c - y)) and s(b (a - y)).
    wins, losses = margin.T[None], margin[:, :, None]
    return float((u[:, None, None] + v * (wins - losses) + w * wins - t * u).max() / t)


def unsupported_violation(margin: np.ndarray, bt_temperature: float) -> float:
    """Largest violation of a + v [s(b (c - y)) - s(b (a - y))] <= t c.

    The multipliers v and t are `unsupported_multiplier`.
    """
    v, t = unsupported_multiplier(bt_temperature)
    u = np.linspace(0, 1, len(margin))
    return float((u[:, None, None] + v * (margin.T[None] - margin[:, :, None]) - t * u).max() / t)
