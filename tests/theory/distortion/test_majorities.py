"""Laws of random majorities against enumeration of all tournaments and of all profiles of three users."""

from itertools import combinations, permutations, product

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.theory.distortion import (
    condorcet_winner_probability,
    cycle_probability,
    support_probability,
    three_cycle_probability,
    three_cycle_probability_of_users,
)


def scores(size, outcomes):
    wins = np.zeros(size, int)
    for (a, b), first in zip(combinations(range(size), 2), outcomes):
        wins[a if first else b] += 1
    return wins


@pytest.mark.parametrize("size", [3, 4, 5])
def test_independent_pairs_are_all_tournaments(size):
    tournaments = list(product((True, False), repeat=size * (size - 1) // 2))
    wins = np.array([scores(size, outcomes) for outcomes in tournaments])
    orders = (np.sort(wins, 1) == np.arange(size)).all(1).mean()
    assert cycle_probability(size) == pytest.approx(1 - orders, abs=1e-12)
    winners = (wins.max(1) == size - 1).mean()
    assert condorcet_winner_probability(size, 0.0) == pytest.approx(winners, abs=1e-12)
    assert support_probability(size, 1) == pytest.approx(winners, abs=1e-12)
    assert sum(support_probability(size, k) for k in range(1, size + 1)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("users", [1, 3, 5])
def test_crowds_are_all_profiles(users):
    ranked = np.array([[p[0] < p[1], p[1] < p[2], p[2] < p[0]] for p in permutations(range(3))])
    profiles = np.array(list(product(range(6), repeat=users)))
    majorities = ranked[profiles].sum(1) > users / 2
    cycles = (majorities.all(1) | ~majorities.any(1)).mean()
    assert three_cycle_probability_of_users(users) == pytest.approx(cycles, abs=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.2, 1 / 3, 0.5])
def test_three_responses_cycle_where_none_beats_the_others(correlation):
    assert three_cycle_probability(correlation) == pytest.approx(
        1 - condorcet_winner_probability(3, correlation), abs=1e-6
    )


def test_crowds_tend_to_the_infinite_one():
    gaps = [three_cycle_probability(1 / 3) - three_cycle_probability_of_users(n) for n in (25, 51)]
    assert 0 < gaps[1] < 0.6 * gaps[0] < 0.01


@pytest.mark.parametrize("users", [2, 0, 203])
def test_users_out_of_range(users):
    with pytest.raises(InputError, match="users"):
        three_cycle_probability_of_users(users)
