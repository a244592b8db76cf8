"""Bradley-Terry rewards: against cvxpy and choix, with comparison weights over many orders of magnitude;
Borda; RLHF.
"""

from dataclasses import replace

import choix
import numpy as np
import pytest
from scipy.special import logsumexp

from distalign.checks import InputError
from distalign.oracles import reward as oracle
from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import universal_worst_case
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.solvers.choice.reward import borda, borda_scores, reward_mle, rlhf


def problem(rng, scale=None):
    """A random problem at a random temperature; `scale` fixes the spread of the reference instead."""
    p = random_problem(rng, universal_worst_case(float(np.exp(rng.uniform(np.log(0.1), np.log(50))))))
    if scale is None:
        return p
    log_reference = scale * rng.standard_normal(len(p.comparison))
    return replace(p, log_reference=log_reference - logsumexp(log_reference))


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_cone_program(seed):
    rng = np.random.default_rng(seed)
    win = BradleyTerryUsers(rng.random((5, 6)), np.full(5, 0.2), 6.0).win
    weights = rng.random((6, 6))
    weights += weights.T
    fit = reward_mle(win, weights)
    assert fit.certified
    np.testing.assert_allclose(fit.reward, oracle.reward_mle(win, weights), atol=2e-4)


def test_agrees_with_choix_on_counted_comparisons():
    rng = np.random.default_rng(0)
    size, comparisons = 5, []
    wins = rng.integers(1, 8, (size, size))
    for x, y in zip(*np.nonzero(~np.eye(size, dtype=bool))):
        comparisons += [(x, y)] * int(wins[x, y])
    total = wins + wins.T
    fit = reward_mle(np.where(np.eye(size) > 0, 0.5, wins / total), total)
    np.testing.assert_allclose(fit.reward, choix.opt_pairwise(size, comparisons, tol=1e-12), atol=1e-6)


@pytest.mark.parametrize("utilities", [[1.0, 0.4, 0.0, 0.9], [1.0, 0.0]])
def test_one_bradley_terry_user_gets_his_own_utilities_back(utilities):
    """At temperature 50 a win probability is within 2e-22 of certainty: 1 in float64, but its complement is
    not 0.
    """
    users = BradleyTerryUsers([utilities], [1.0], 50.0)
    fit = reward_mle(users.win, np.full(len(utilities), 1 / len(utilities)))
    np.testing.assert_allclose(fit.reward, 50 * (users.utilities[0] - users.utilities[0].mean()), rtol=1e-9)


def test_the_diagonal_of_pair_weights_has_no_effect():
    users, weights = (
        BradleyTerryUsers([[0.7, 0.2, 0.5], [0.1, 0.9, 0.4]], [0.6, 0.4], 5.0),
        np.full((3, 3), 0.1),
    )
    with_diagonal = reward_mle(users.win, weights + np.diag([5.0, 0.0, 1.0])).reward
    np.testing.assert_allclose(with_diagonal, reward_mle(users.win, weights).reward, atol=1e-12)


@pytest.mark.parametrize("rare", [1e-3, 1e-8, 1e-14])
def test_comparison_weights_may_span_any_range(rare):
    users = BradleyTerryUsers([[0.7, 0.2, 0.5], [0.1, 0.9, 0.4]], [0.6, 0.4], 5.0)
    mu = np.array([rare, 1 - 2 * rare, rare])
    fit = reward_mle(users.win, mu)
    assert fit.certified
    # as rare -> 0 each rare alternative is compared with alternative 1 only, so its reward is one log-odds
    odds = np.log(users.win[[0, 2], 1] / users.win[1, [0, 2]])
    np.testing.assert_allclose(fit.reward[[0, 2]] - fit.reward[1], odds, atol=10 * rare + 1e-12)


def test_order_of_the_reward_is_the_order_of_borda_for_product_comparisons():
    rng = np.random.default_rng(1)
    for _ in range(100):
        p = problem(rng)
        fit = reward_mle(p.users.win, p.comparison)
        scores = borda_scores(p.users.win, p.comparison)
        assert fit.certified
        apart = np.abs(scores[:, None] - scores) > 1e-10
        assert np.array_equal(
            np.sign(fit.reward[:, None] - fit.reward)[apart], np.sign(scores[:, None] - scores)[apart]
        )


def test_order_of_the_reward_is_not_that_of_borda_for_pair_weights():
    users = BradleyTerryUsers(
        [[1 / 3, 0.0, 0.2], [1 / 3, 0.5, 0.0], [1 / 3, 0.5, 0.6]], np.full(3, 1 / 3), 10.0
    )
    chain = np.array([[0, 1, 1e-9], [1, 0, 1], [1e-9, 1, 0]])
    fit, scores = reward_mle(users.win, chain), borda_scores(users.win, np.full(3, 1 / 3))
    assert not np.array_equal(np.argsort(fit.reward), np.argsort(scores))


def test_borda_ties_are_shared_and_scores_average_one_half():
    assert borda([[0.5, 0.5, 0.9], [0.5, 0.5, 0.9], [0.1, 0.1, 0.5]], np.full(3, 1 / 3)).policy.tolist() == [
        0.5,
        0.5,
        0,
    ]
    p = problem(np.random.default_rng(2))
    assert p.comparison @ borda_scores(p.users.win, p.comparison) == pytest.approx(0.5, abs=1e-12)


def test_rlhf_is_the_tilt_of_dpo():
    """DPO with strength beta has the optimum pi_ref e^{r/beta}; RLHF with the KL it spends is the same
    policy.
    """
    p = problem(np.random.default_rng(3), scale=1.0)
    r = reward_mle(p.users.win, p.comparison).reward
    dpo = np.exp(p.log_reference + r / 2)
    dpo /= dpo.sum()
    spent = float(dpo @ (np.log(dpo) - p.log_reference))
    np.testing.assert_allclose(rlhf(p.users.win, p.comparison, p.log_reference, spent).policy, dpo, atol=1e-9)


def test_bad_arguments_are_named():
    win = [[0.5, 0.75], [0.25, 0.5]]
    with pytest.raises(InputError, match="unconnected"):
        reward_mle(win, [1.0, 0.0])
    with pytest.raises(InputError, match="comparison"):
        reward_mle(win, [0.5, 0.25, 0.25])
    with pytest.raises(InputError, match="win must hold"):
        reward_mle([[0.5, 0.75], [0.75, 0.5]], [0.5, 0.5])
    with pytest.raises(InputError, match="comparison"):
        borda(win, [0.5, 0.6])
