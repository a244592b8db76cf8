"""Maximal lotteries by the interior-point method and the double oracle: random, tied, cloned and badly scaled
games.
"""

import numpy as np
import pytest

from distalign.oracles import games as oracle
from distalign.populations import BradleyTerryUsers
from distalign.solvers.choice.games import maximal_lottery
from distalign.solvers.choice.skew_games import interior_lottery, lottery_on, some_lottery


def antisymmetric(rng, kind):
    """Margins of largest entry 1, of one of five kinds."""
    size = int(rng.integers(2, 50))
    signs = rng.integers(-1, 2, (size, size)).astype(float)
    clones = rng.integers(0, size, size)
    noise, powers = rng.standard_normal((size, size)), 10.0 ** rng.integers(-9, 1, (size, size))
    upper = np.triu(
        {"normal": noise, "heavy": noise**7, "ties": signs, "clones": signs, "scales": signs * powers}[kind],
        1,
    )
    margins = upper - upper.T
    margins = margins[np.ix_(clones, clones)] if kind == "clones" else margins
    return margins / (np.abs(margins).max() or 1)


def unbeaten(margins, lottery):
    return lottery.min() >= 0 and abs(lottery.sum() - 1) < 1e-12 and (margins @ lottery).max() <= 1e-10


@pytest.mark.parametrize("kind", ["normal", "heavy", "ties", "clones", "scales"])
def test_both_methods_find_unbeaten_lotteries(kind):
    rng = np.random.default_rng(0)
    for _ in range(60):
        margins = antisymmetric(rng, kind)
        assert unbeaten(margins, interior_lottery(margins))
        assert unbeaten(margins, some_lottery(margins))


def test_a_beaten_lottery_is_seen():
    """The negative control of `unbeaten`: the uniform lottery, and a solution of another game."""
    margins = antisymmetric(np.random.default_rng(1), "normal")
    size = len(margins)
    assert not unbeaten(margins, np.full(size, 1 / size))
    assert not unbeaten(margins[::-1, ::-1], interior_lottery(margins))


@pytest.mark.parametrize("size", [3, 30, 150])
def test_games_with_one_lottery_give_exactly_that(size):
    noise = np.random.default_rng(size).standard_normal((size, size))
    win = (1 + np.tanh(noise - noise.T)) / 2
    lottery, _ = oracle.maximal_lottery(win, "highs-ipm")
    found = maximal_lottery(win)
    assert found.certified
    assert found.certificate <= 1e-13
    np.testing.assert_allclose(found.policy, lottery, atol=1e-7)
    assert (found.policy > 0).sum() % 2 == 1


def test_few_alternatives_that_matter_among_many():
    users = BradleyTerryUsers(np.random.default_rng(2).random((30, 400)), np.full(30, 1 / 30), 10.0)
    found = maximal_lottery(users.win)
    assert found.certified
    np.testing.assert_allclose(found.policy, oracle.maximal_lottery(users.win)[0], atol=1e-7)


def test_the_support_is_accepted_only_if_it_is_that_of_the_one_lottery():
    cycle = np.array([[0, 1.0, -1.0, 0.5], [-1.0, 0, 1.0, 0.5], [1.0, -1.0, 0, 0.5], [-0.5, -0.5, -0.5, 0]])
    on = np.array([True, True, True, False])
    np.testing.assert_allclose(lottery_on(cycle, on), [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-15)
    assert lottery_on(cycle, np.ones(4, bool)) is None  # of even order
    assert lottery_on(cycle, np.array([True, False, False, False])) is None  # beaten by 2
    tied = cycle.copy()
    tied[3] = tied[:, 3] = 0
    assert lottery_on(tied, on) is None  # 3 ties with the cycle: another lottery is next to it
    assert lottery_on(np.zeros((3, 3)), np.ones(3, bool)) is None  # every lottery is maximal


def test_the_borda_winner_is_kept_where_nothing_beats_it():
    margins = np.array([[0, 0.0, 1.0], [0.0, 0, 0.5], [-1.0, -0.5, 0]])
    assert some_lottery(margins).tolist() == [1.0, 0.0, 0.0]
    assert some_lottery(np.zeros((1, 1))).tolist() == [1.0]
