"""NLHF among hundreds of alternatives by iterating the best reply in the ball: against the path, and where it
finds nothing.
"""

import numpy as np
import pytest

from distalign.populations import BradleyTerryUsers
from distalign.solvers.choice import games
from distalign.solvers.choice.best_replies import own_best_reply
from distalign.solvers.choice.certified import kl_divergence, normalised
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.regularised_games import spend_budget

SIZE = 160


def population(temperature=10.0):
    utilities = np.random.default_rng(0).random((12, SIZE))
    return BradleyTerryUsers(utilities, np.full(12, 1 / 12), temperature).win


def dense():
    noise = np.tanh(np.random.default_rng(1).standard_normal((SIZE, SIZE)))
    return 0.5 + (noise - noise.T) / 4


def reference(kind):
    rng = np.random.default_rng(2)
    q = {"uniform": np.zeros(SIZE), "spread": 3 * rng.standard_normal(SIZE)}.get(kind)
    if q is None:  # one alternative that no policy in the ball can use
        q = np.append(-1e4, np.zeros(SIZE - 1))
    return normalised(q)


@pytest.mark.parametrize("win", [population(), population(0.5), dense()], ids=["sharp", "flat", "dense"])
@pytest.mark.parametrize("kind", ["uniform", "spread", "excluded"])
@pytest.mark.parametrize("budget", [1e-3, 0.1])
def test_agrees_with_the_path(win, kind, budget):
    q, scale = reference(kind), (win - win.T).max()
    found = own_best_reply(win, q, budget)
    assert found is not None
    assert kl_divergence(found, q) == pytest.approx(budget, rel=1e-9)
    path = spend_budget((win - win.T) / scale, q, budget)
    np.testing.assert_allclose(np.exp(found), np.exp(path), atol=1e-9)
    assert kl_nlhf(win, q, budget).certificate <= 1e-12


def test_where_a_lottery_is_inside_the_ball_nothing_is_found_and_the_path_answers():
    win, q = population(), np.full(SIZE, -np.log(SIZE))
    assert own_best_reply(win, q, 100.0) is None
    found = kl_nlhf(win, q, 100.0)
    assert found.certified
    assert found.kl(q) < 10


def test_where_the_iteration_is_too_slow_the_path_answers():
    q = reference("uniform")
    assert own_best_reply(dense(), q, 0.3) is None
    assert kl_nlhf(dense(), q, 0.3).certified


def test_a_wrong_reply_is_not_believed(monkeypatch):
    """The negative control: what the iteration says counts only if the certificate agrees."""
    win, q = population(), np.full(SIZE, -np.log(SIZE))
    right = kl_nlhf(win, q, 0.2)
    monkeypatch.setattr(games, "own_best_reply", lambda *_: q)
    again = kl_nlhf(win, q, 0.2)
    assert again.certified
    np.testing.assert_allclose(again.policy, right.policy, atol=1e-9)
