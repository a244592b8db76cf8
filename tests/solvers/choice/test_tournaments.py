"""Schulze, ranked pairs and the population-proportional policy against implementations by another road."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.plackett_luce import ranking_law
from distalign.solvers.choice.tournaments import population_proportional, ranked_pairs, schulze

CYCLE = np.array([[0.5, 0.7, 0.45], [0.3, 0.5, 0.6], [0.55, 0.4, 0.5]])


def random_win(seed, size, levels=None):
    """A win matrix of independent entries; of few levels, so that many majorities tie, if asked."""
    rng = np.random.default_rng(seed)
    upper = (
        rng.random((size, size)) if levels is None else rng.integers(levels, size=(size, size)) / (levels - 1)
    )
    win = np.triu(upper, 1)
    return win + np.tril(1 - win.T, -1) + 0.5 * np.eye(size)


def winners(policy):
    return set(np.flatnonzero(policy.policy).tolist())


def by_all_paths(win):
    """Schulze's winners with the strength of every simple path."""
    size = len(win)

    def strength(x, y):
        others = [z for z in range(size) if z not in (x, y)]
        paths = [[x, *middle, y] for k in range(size - 1) for middle in permutations(others, k)]
        links = [[win[a, b] for a, b in pairwise(path)] for path in paths]
        return max(min(w if w > 0.5 + 1e-14 else 0 for w in link) for link in links)

    return {
        x for x in range(size) if all(strength(x, y) >= strength(y, x) - 1e-14 for y in range(size) if y != x)
    }


def by_search(win):
    """Ranked pairs for majorities of different size: one after the other, with a search for a way back."""
    size = len(win)
    edges = sorted(
        ((win[x, y], x, y) for x in range(size) for y in range(size) if win[x, y] > 0.5), reverse=True
    )
    locked = {x: set() for x in range(size)}

    def leads(a, b):
        todo, seen = [a], set()
        while todo:
            at = todo.pop()
            if at == b:
                return True
            seen.add(at)
            todo += [z for z in locked[at] if z not in seen]
        return False

    for _, x, y in edges:
        if not leads(y, x):
            locked[x].add(y)
    return {y for y in range(size) if not any(y in beaten for beaten in locked.values())}


@pytest.mark.parametrize("seed", range(6))
def test_against_other_roads(seed):
    for levels in (None, 4):
        win = random_win(seed, 5, levels)
        assert winners(schulze(win)) == by_all_paths(win)
    win = random_win(seed, 7)
    assert winners(ranked_pairs(win)) == by_search(win)


def test_the_comparison_can_fail_and_a_cycle_is_cut_at_its_weakest():
    assert winners(schulze(CYCLE)) == winners(ranked_pairs(CYCLE)) == {0}
    assert winners(schulze(CYCLE.T)) != by_all_paths(CYCLE)
    assert winners(ranked_pairs(CYCLE.T)) != by_search(CYCLE)


def test_ties_do_not_depend_on_the_order_of_alternatives():
    equal = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    nobody = np.full((3, 3), 0.5)
    for rule in (schulze, ranked_pairs, population_proportional):
        for win in (equal, nobody):
            np.testing.assert_allclose(rule(win).policy, 1 / 3)
        for seed in range(10):
            win, order = random_win(seed, 5, 3), np.random.default_rng(seed).permutation(5)
            np.testing.assert_allclose(
                rule(win[np.ix_(order, order)]).policy, rule(win).policy[order], atol=1e-12
            )
        assert rule([[0.5]]).policy.tolist() == [1]
        with pytest.raises(InputError, match="win"):
            rule([[0.5, 0.9], [0.9, 0.5]])


def test_a_condorcet_winner_wins():
    for seed in range(20):
        win = random_win(seed, 6)
        win[2], win[:, 2] = 0.6, 0.4
        win[2, 2] = 0.5
        assert winners(schulze(win)) == winners(ranked_pairs(win)) == {2}


def test_no_ranking_has_more_first_choices_than_the_bound():
    """The law of rankings of Plackett-Luce users: first choices are at most the least win of each."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        rankings, law = ranking_law(BradleyTerryUsers(rng.random((3, 5)), rng.dirichlet(np.ones(3)), 6.0))
        place = np.argsort(rankings, axis=1)
        win = np.tensordot(law, (place[:, :, None] < place[:, None, :]).astype(float), 1) + 0.5 * np.eye(5)
        first = np.bincount(rankings[:, 0], law, 5)
        least = np.array([min(win[x, y] for y in range(5) if y != x) for x in range(5)])
        assert (first <= least + 1e-12).all()
        np.testing.assert_allclose(population_proportional(win).policy, least / least.sum())
