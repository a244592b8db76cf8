"""Plurality veto against voters who take their points one by one, in small steps."""

import numpy as np
import pytest
from scipy.optimize import linprog

from distalign.checks import InputError
from distalign.solvers.choice.veto import plurality_veto


def of_rankings(rankings, weights):
    """First choices, and the share of voters who like each least among those alive."""
    size = rankings.shape[1]

    def vetoes(alive):
        last = [max(np.flatnonzero(alive), key=lambda x: list(r).index(x)) for r in rankings]
        return np.bincount(last, weights, size)

    return np.bincount(rankings[:, 0], weights, size), vetoes


def in_steps(rankings, weights, steps):
    """Every voter in turn takes a small part of his weight from his least liked alternative with points."""
    points = np.bincount(rankings[:, 0], weights, rankings.shape[1])
    last = 0
    for _ in range(steps):
        for ranking, weight in zip(rankings, weights, strict=True):
            left = weight / steps
            while left > 1e-15 and points.max() > 1e-15:
                last = next(x for x in ranking[::-1] if points[x] > 1e-15)
                taken = min(points[last], left)
                points[last] -= taken
                left -= taken
    return last


def test_against_voters_one_by_one():
    agreed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rankings = np.array([rng.permutation(5) for _ in range(7)])
        weights = rng.dirichlet(np.ones(7))
        found = plurality_veto(*of_rankings(rankings, weights)).policy
        assert found.max() == 1  # weights are generic, so no two end together
        agreed += int(found.argmax()) == in_steps(rankings, weights, 100)
    assert agreed == 12


def dominated(rankings, weights, winner):
    """Whether the fractional domination graph of `winner` has a perfect matching (Kizilkaya and Kempe 2022).

    Each voter may give his weight to alternatives that he likes no better than the winner, so that every
    alternative gets its share of first choices.
    """
    voters, size = rankings.shape
    place = np.argsort(rankings, axis=1)
    allowed = place >= place[:, [winner]]
    given = np.kron(np.eye(voters), np.ones(size))
    taken = np.kron(np.ones(voters), np.eye(size))
    points = np.bincount(rankings[:, 0], weights, size)
    solved = linprog(
        np.zeros(voters * size),
        A_eq=np.vstack([given, taken]),
        b_eq=np.concatenate([weights, points]),
        bounds=[(0, None if ok else 0) for ok in allowed.ravel()],
    )
    return solved.status == 0


def test_winners_are_those_whose_domination_graph_has_a_perfect_matching():
    refused = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rankings = np.array([rng.permutation(5) for _ in range(7)])
        weights = rng.dirichlet(np.ones(7))
        policy = plurality_veto(*of_rankings(rankings, weights)).policy
        matched = [dominated(rankings, weights, x) for x in range(5)]
        assert all(matched[x] for x in np.flatnonzero(policy))
        refused += 5 - sum(matched)
    assert refused > 40  # most alternatives have none


def test_the_comparison_can_fail_and_ties_share():
    rankings, half = np.array([[0, 1, 2], [1, 0, 2]]), np.array([0.5, 0.5])
    np.testing.assert_allclose(plurality_veto(*of_rankings(rankings, half)).policy, [0.5, 0.5, 0])
    assert in_steps(rankings[::-1], np.array([0.6, 0.4]), 50) == 1
    assert plurality_veto(*of_rankings(rankings, np.array([0.6, 0.4]))).policy.tolist() == [1, 0, 0]


def test_what_it_refuses():
    with pytest.raises(InputError, match=r"first_choices must be .* sum to 1"):
        plurality_veto([0.5, 0.6], lambda alive: alive / alive.sum())
    with pytest.raises(InputError, match="vetoes must return"):
        plurality_veto([0.5, 0.5], lambda alive: alive * 1.0)
