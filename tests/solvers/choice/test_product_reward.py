"""The reward of hundreds of alternatives by conjugate gradients: against dense Newton steps, and its
certificate.
"""

import numpy as np
import pytest

from distalign.populations import BradleyTerryUsers
from distalign.solvers.choice import reward
from distalign.solvers.choice.product_reward import _at, _shared_mass, product_reward
from distalign.solvers.choice.reward import borda_scores, reward_mle

SIZE = 320


def population(temperature, types=10, seed=0):
    rng = np.random.default_rng(seed)
    return BradleyTerryUsers(rng.random((types, SIZE)), np.full(types, 1 / types), temperature).win


def densely(win, mu):
    """The dense Newton method, which small problems use."""
    return reward_mle(win, np.outer(mu, mu)).reward


@pytest.mark.parametrize(
    ("temperature", "types", "spread"), [(1.0, 10, 1.0), (10.0, 10, 1.0), (30.0, 3, 0.2), (12.0, 1, 5.0)]
)
def test_agrees_with_dense_newton_and_the_certificate_bounds_the_difference(temperature, types, spread):
    win = population(temperature, types)
    mu = np.random.default_rng(1).dirichlet(np.full(SIZE, spread)) + 1e-12
    mu /= mu.sum()
    found, certificate = product_reward(win, mu)
    exact = densely(win, mu)
    assert certificate <= 1e-9
    assert np.ptp(found - exact) <= 1.01 * certificate + 1e-12
    scores = borda_scores(win, mu)
    assert np.array_equal(np.argsort(found), np.argsort(scores))


@pytest.mark.parametrize("rare", [1e-3, 1e-9, 1e-15, 1e-22])
def test_one_alternative_may_be_in_nearly_every_comparison(rare):
    win, mu = population(10.0), np.full(SIZE, rare / SIZE)
    mu[5] = 1
    mu /= mu.sum()
    found, certificate = product_reward(win, mu)
    assert certificate <= 1e-9
    np.testing.assert_allclose(found, densely(win, mu), atol=1e-8)


def test_far_from_the_optimum_the_certificate_is_not_below_the_newton_step():
    """The negative control: rewards that are wrong get a bound that says so, whatever they are."""
    win, mu = population(8.0), np.random.default_rng(2).dirichlet(np.ones(SIZE))
    for scale in (1e-6, 1e-3, 0.3, 2.0):
        r = densely(win, mu) + scale * np.random.default_rng(3).standard_normal(SIZE)
        r, squares = r - (r.max() + r.min()) / 2, np.empty_like(win)
        gradient, slope = _at(r, win, mu, squares)
        shared = _shared_mass(r, slope, mu, squares)
        step = reward.newton_step(np.outer(mu, mu) * (1 - np.eye(SIZE)), win, r)
        assert 0 < shared <= 1
        assert scale / 2 <= np.ptp(step) <= np.ptp(gradient / slope) / shared * (1 + 1e-6)


def test_rewards_tens_of_logits_apart_are_left_to_the_dense_method():
    users = BradleyTerryUsers(np.linspace(0, 1, SIZE)[None], [1.0], 50.0)
    mu = np.full(SIZE, 1 / SIZE)
    assert product_reward(users.win, mu) is None
    fit = reward_mle(users.win, mu)
    assert fit.certified
    np.testing.assert_allclose(fit.reward, 50 * (users.utilities[0] - users.utilities[0].mean()), atol=1e-9)


def test_a_comparison_that_never_happens_is_refused_among_many_too():
    mu = np.full(SIZE, 1 / (SIZE - 1))
    mu[0] = 0
    with pytest.raises(reward.InputError, match="unconnected"):
        reward_mle(population(5.0), mu)
