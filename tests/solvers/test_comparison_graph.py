"""Which responses keep a table of wins from determining rewards."""

from __future__ import annotations

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.comparison_graph import require_connected


def outcome(table):
    try:
        require_connected(table)
    except InputError:
        return False
    return True


def test_agrees_with_the_solver_on_random_sparse_tables():
    tables = np.random.default_rng(0).poisson(0.5, (200, 5, 5)).astype(float)
    tables = tables[(tables * (1 - np.eye(5))).sum((1, 2)) > 0]
    solved = bradley_terry_rewards(tables).solved
    assert [outcome(t) for t in tables] == solved.tolist()
    assert 20 < solved.sum() < 180


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            [[0, 1, 1], [0, 0, 1], [0, 1, 0]],
            "response 0 never lost to the others; responses 1, 2 never won against the others",
        ),
        (
            [[0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
            "response 3 never won against the others; responses 0, 1 ",
        ),
        (
            [[0, 1, 0], [1, 0, 0], [0, 0, 5]],
            "response 2 never met the others; responses 0, 1 never met the others",
        ),
    ],
)
def test_names_the_responses_that_stand_in_the_way(table, told):
    with pytest.raises(InputError, match=told):
        require_connected(table)


def test_misshapen_tables():
    for table in ([[0, 1]], [[0, -1], [1, 0]], np.zeros(3)):
        with pytest.raises(InputError, match=r"wins must be a non-negative \(K, K\) table"):
            require_connected(table)
