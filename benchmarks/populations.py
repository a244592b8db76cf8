"""The games of the benchmarks: populations of 64 types, and dense games."""

from __future__ import annotations

import numpy as np

from distalign.populations import win_matrix
from distalign.types import Array

TYPES, TEMPERATURE = 64, 10.0


def population(size: int) -> tuple[Array, Array]:
    """Uniform utilities of 64 types and their win matrix at temperature 10."""
    utilities = np.random.default_rng(0).random((TYPES, size))
    return utilities, win_matrix(utilities, np.full(TYPES, 1 / TYPES), TEMPERATURE)


def dense_game(size: int) -> Array:
    """A win matrix whose margins are tanh of antisymmetric normal noise."""
    noise = np.random.default_rng(0).standard_normal((size, size))
    return (1 + np.tanh((noise - noise.T) / np.sqrt(2))) / 2
