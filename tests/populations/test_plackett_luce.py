"""Plackett-Luce users: rankings and wins against their exact laws, the two roads of the sampler, and the
marginals.
"""

from itertools import permutations

import numpy as np
import pytest
from against_exact_law import assert_drawn_from

from distalign import InputError
from distalign.populations import BradleyTerryUsers, plackett_luce
from distalign.populations.plackett_luce import first_choices, ranking_law, sample_wins


@pytest.fixture
def users():
    rng = np.random.default_rng(3)
    return BradleyTerryUsers(rng.random((3, 4)), [0.5, 0.3, 0.2], 3.0)


def above(rankings, size):
    place = np.argsort(rankings, axis=1)
    return place[:, :, None] < place[:, None, :]


def test_rankings_have_bradley_terry_marginals_and_luce_first_choices(users):
    rankings, law = ranking_law(users)
    assert {tuple(r) for r in rankings} == set(permutations(range(4)))
    assert law.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(
        np.tensordot(law, above(rankings, 4), 1) + 0.5 * np.eye(4), users.win, atol=1e-12
    )
    np.testing.assert_allclose(
        [law[rankings[:, 0] == x].sum() for x in range(4)], first_choices(users), atol=1e-12
    )


def test_large_utilities_do_not_overflow():
    users = BradleyTerryUsers([[0.0, 1.0, 0.5]], [1.0], 5000.0)
    rankings, law = ranking_law(users)
    assert rankings[law.argmax()].tolist() == [1, 2, 0]
    assert first_choices(users).tolist() == [0, 1, 0]


@pytest.mark.parametrize("enumerated", [True, False])
def test_wins_with_one_question_each(users, enumerated, monkeypatch):
    if not enumerated:
        monkeypatch.setattr(plackett_luce, "_LARGEST_ENUMERATED", 2)
    mu = np.array([0.4, 0.3, 0.2, 0.1])
    wins = sample_wins(users, 3_000, 1, mu, np.random.default_rng(4), replicates=20).reshape(20, 16)
    assert (wins.sum(-1) == 3_000).all()
    assert_drawn_from(wins, (2 * np.outer(mu, mu) * users.win).ravel())
    with pytest.raises(AssertionError):
        assert_drawn_from(wins, (2 * np.outer(mu, mu) * users.win.T).ravel())


@pytest.mark.parametrize("enumerated", [True, False])
def test_answers_of_one_user_agree(users, enumerated, monkeypatch):
    """Var of the wins of 0 over 1:  n (d q p (1 - q p) + d (d - 1) q^2 p (1 - p)),  q = 2 mu_0 mu_1,  p =
    P(0, 1).
    """
    if not enumerated:
        monkeypatch.setattr(plackett_luce, "_LARGEST_ENUMERATED", 2)
    d, n, replicates, mu = 30, 60, 1_000, np.full(4, 0.25)
    wins = sample_wins(users, n, d, mu, np.random.default_rng(5), replicates=replicates)[:, 0, 1]
    p, q = users.win[0, 1], 2 / 16
    variance = n * (d * q * p * (1 - q * p) + d * (d - 1) * q**2 * p * (1 - p))
    assert abs(wins.mean() - n * d * q * p) < 5 * np.sqrt(variance / replicates)
    assert abs(wins.var() / variance - 1) < 5 * np.sqrt(2 / replicates)
    assert wins.var() > 2 * n * d * q * p  # independent answers would give less


def test_users_drawn_in_parts_are_all_there(users, monkeypatch):
    monkeypatch.setattr(plackett_luce, "_LARGEST_ENUMERATED", 2)
    monkeypatch.setattr(plackett_luce, "_CHUNK", 100)
    wins = sample_wins(users, 1_001, 3, np.full(4, 0.25), np.random.default_rng(6), replicates=2)
    assert wins.sum((1, 2)).tolist() == [3003, 3003]


def test_bad_input(users):
    rng, mu = np.random.default_rng(0), np.full(4, 0.25)
    for arguments, name in (((0, 1), "number"), ((1, 0), "comparisons")):
        with pytest.raises(InputError, match=name):
            sample_wins(users, *arguments, mu, rng)
    with pytest.raises(InputError, match="pair_law"):
        sample_wins(users, 1, 1, mu[:3], rng)
    with pytest.raises(InputError, match="one prompt"):
        first_choices(BradleyTerryUsers(np.zeros((1, 2, 3)), [1.0], 1.0))
    with pytest.raises(InputError, match="at most 6"):
        ranking_law(BradleyTerryUsers(np.zeros((1, 7)), [1.0], 1.0))
