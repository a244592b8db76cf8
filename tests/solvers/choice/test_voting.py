"""Copeland, plurality, random dictator and their neighbours: by hand, on symmetric cases, and against
pref_voting.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.plackett_luce import first_choices, ranking_law
from distalign.solvers.choice.games import maximal_lottery
from distalign.solvers.choice.reward import borda
from distalign.solvers.choice.tournaments import ranked_pairs, schulze
from distalign.solvers.choice.voting import copeland, copeland_scores, plurality, random_dictator


def electorate(seed, size=5, voters=24):
    """Rankings drawn by Plackett-Luce, with the win matrix and the first choices of exactly these voters.

    The number of voters is a multiple of no prime but 2 and 3, and ties between alternatives do occur.
    """
    rng = np.random.default_rng(seed)
    rankings, law = ranking_law(BradleyTerryUsers(rng.random((3, size)), [0.5, 0.3, 0.2], 3.0))
    drawn = rankings[rng.choice(len(law), voters, p=law / law.sum())]
    place = np.argsort(drawn, axis=1)
    win = (place[:, :, None] < place[:, None, :]).mean(0) + 0.5 * np.eye(size)
    return drawn, win, np.bincount(drawn[:, 0], minlength=size) / voters


def assert_same_winners(policy, winners):
    np.testing.assert_allclose(policy[winners], 1 / len(winners), atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_against_pref_voting(seed):
    pytest.importorskip(
        "pref_voting", reason="pref_voting is an extra of its own (`voting`): it holds numpy below 2.4"
    )
    from pref_voting import probabilistic_methods, voting_methods
    from pref_voting.profiles import Profile

    drawn, win, first = electorate(seed)
    profile, uniform = Profile(drawn.tolist()), np.full(len(win), 1 / len(win))
    ours = {"copeland": copeland(win), "borda": borda(win, uniform), "plurality": plurality(first)}
    for name, found in ours.items():
        assert_same_winners(found.policy, getattr(voting_methods, name)(profile))
    dictator = probabilistic_methods.random_dictator(profile)
    np.testing.assert_allclose(
        random_dictator(first).policy, [dictator.get(x, 0) for x in range(len(win))], atol=1e-12
    )
    theirs = np.array([probabilistic_methods.maximal_lottery(profile)[x] for x in range(len(win))], float)
    assert maximal_lottery(
        win
    ).certified  # lotteries need not be unique: theirs must be unbeaten in our matrix
    assert ((2 * win - 1) @ theirs).max() <= 1e-8


@pytest.mark.parametrize("seed", range(12))
def test_chains_of_majorities_against_pref_voting(seed):
    """Schulze with ties, and ranked pairs where no two majorities are of the same size."""
    pytest.importorskip(
        "pref_voting", reason="pref_voting is an extra of its own (`voting`): it holds numpy below 2.4"
    )
    from pref_voting.profiles import Profile
    from pref_voting.voting_methods import beat_path, ranked_pairs_zt

    drawn, win, _ = electorate(seed)
    assert_same_winners(schulze(win).policy, beat_path(Profile(drawn.tolist())))
    drawn, win, _ = electorate(seed, voters=1001)
    sizes = np.abs(win - 0.5)[np.triu_indices(len(win), 1)]
    if len(np.unique(sizes.round(12))) == len(sizes):
        assert_same_winners(ranked_pairs(win).policy, ranked_pairs_zt(Profile(drawn.tolist())))


def test_the_comparison_of_winners_can_fail():
    with pytest.raises(AssertionError):
        assert_same_winners(
            copeland(electorate(0)[1].T).policy, np.flatnonzero(copeland(electorate(0)[1]).policy).tolist()
        )


def test_copeland_by_hand():
    # 0 beats 1 and 2, ties 3; 1 beats 2 and 3; 3 beats 2
    win = np.full((4, 4), 0.5)
    for x, y in ((0, 1), (0, 2), (1, 2), (1, 3), (3, 2)):
        win[x, y], win[y, x] = 0.7, 0.3
    assert copeland_scores(win).tolist() == [2.5, 2, 0, 1.5]
    assert copeland(win).policy.tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(copeland(np.full((3, 3), 0.5)).policy, 1 / 3)  # ties everywhere: uniform
    assert copeland([[0.5]]).policy.tolist() == [1]  # one alternative
    nearly = np.array([[0.5, 0.5 + 1e-15], [0.5 - 1e-15, 0.5]])
    assert copeland_scores(nearly).tolist() == [0.5, 0.5]  # rounding is a tie, one half each


def test_copeland_elects_the_condorcet_winner_where_borda_need_not():
    win = np.array([[0.5, 0.51, 0.51], [0.49, 0.5, 0.95], [0.49, 0.05, 0.5]])
    assert copeland(win).policy.argmax() == 0
    assert borda(win, np.full(3, 1 / 3)).policy.argmax() == 1


def test_rules_of_first_choices():
    users = BradleyTerryUsers([[1, 0, 0.9], [0, 1, 0.9]], [0.55, 0.45], 200.0)
    first = first_choices(users)
    np.testing.assert_allclose(first, [0.55, 0.45, 0], atol=1e-8)
    assert plurality(first).policy.argmax() == 0
    np.testing.assert_allclose(random_dictator(first).policy, first, atol=1e-15)
    np.testing.assert_allclose(plurality([0.4, 0.4, 0.2]).policy, [0.5, 0.5, 0])


def test_a_random_dictator_is_what_a_pairwise_calibrated_ensemble_chooses():
    """Rewards u + Gumbel / b prefer x to y as often as the users do; they rank by Plackett-Luce."""
    rng = np.random.default_rng(0)
    users = BradleyTerryUsers(rng.random((3, 4)), [0.5, 0.3, 0.2], 4.0)
    kind = rng.choice(3, 400_000, p=[0.5, 0.3, 0.2])
    rewards = users.utilities[kind]
    rewards = rewards + rng.gumbel(size=rewards.shape) / 4.0
    preferred = (rewards[:, :, None] > rewards[:, None, :]).mean(0)
    off_diagonal = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(preferred[off_diagonal], users.win[off_diagonal], atol=4e-3)
    chosen = np.bincount(rewards.argmax(1), minlength=4) / len(rewards)
    np.testing.assert_allclose(chosen, random_dictator(first_choices(users)).policy, atol=4e-3)


@pytest.mark.parametrize("shares", [[0.5, 0.6], [-0.1, 1.1], [], [[0.5, 0.5]], [np.nan, 1.0]])
def test_shares_are_checked(shares):
    for rule in (plurality, random_dictator):
        with pytest.raises(InputError, match="first_choices must hold one share"):
            rule(shares)
    with pytest.raises(InputError, match="win must"):
        copeland([[0.5, 0.5]])
