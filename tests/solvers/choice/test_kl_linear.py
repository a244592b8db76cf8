"""Linear maximisation over a KL ball: against cvxpy, against its own optimality, at its edges; and
distortion.
"""

import numpy as np
import pytest
from scipy.special import logsumexp

from distalign.checks import InputError
from distalign.oracles import reward as oracle
from distalign.solvers.choice.kl_linear import distortion, kl_linear_maximisation


def instance(seed, size=7):
    rng = np.random.default_rng(seed)
    log_reference = rng.standard_normal(size)
    return rng.standard_normal(size), log_reference - logsumexp(log_reference)


@pytest.mark.parametrize(("seed", "budget"), [(0, 0.01), (1, 0.3), (2, 1.5)])
def test_agrees_with_the_cone_program(seed, budget):
    reward, q = instance(seed)
    found = kl_linear_maximisation(reward, q, budget)
    assert found.certified
    assert found.kl(q) == pytest.approx(budget, rel=1e-10)
    np.testing.assert_allclose(
        found.policy, oracle.kl_linear_maximisation(reward, np.exp(q), budget), atol=2e-4
    )
    assert reward @ found.policy == pytest.approx(
        reward @ oracle.kl_linear_maximisation(reward, np.exp(q), budget), abs=1e-6
    )


def test_spends_at_most_the_budget_and_is_certified_on_extreme_references():
    rng = np.random.default_rng(0)
    for _ in range(200):
        q = rng.choice([1, 1e3, 1e8]) * rng.standard_normal(6)
        q -= logsumexp(q)
        budget = np.exp(rng.uniform(-12, 6))
        found = kl_linear_maximisation(rng.standard_normal(6), q, budget)
        assert found.certified
        assert found.kl(q) <= budget * (1 + 1e-9)


def test_symmetric_laws_spend_any_small_budget():
    """There Hoeffding's bound, at which the search begins, is reached to the last digits."""
    for budget in np.logspace(-14, -1, 40):
        found = kl_linear_maximisation([1.0, 0.0], np.log([0.5, 0.5]), budget)
        assert found.certified
        x = found.policy[0] - 0.5  # KL = log 2 - H(1/2 + x) = 2 x^2 + 4 x^4 / 3 + ...
        assert x == pytest.approx(np.sqrt(budget / 2) * (1 - budget / 6), rel=1e-2 * budget + 1e-6, abs=0)


def test_edges_of_the_budget():
    reward, q = np.array([2.0, 2.0, 1.0]), np.log([0.2, 0.3, 0.5])
    np.testing.assert_allclose(kl_linear_maximisation(reward, q, np.log(2)).policy, [0.4, 0.6, 0], atol=1e-15)
    np.testing.assert_allclose(kl_linear_maximisation(reward, q, np.inf).policy, [0.4, 0.6, 0], atol=1e-15)
    np.testing.assert_allclose(kl_linear_maximisation(reward, q, 0).policy, [0.2, 0.3, 0.5], rtol=1e-14)
    np.testing.assert_allclose(kl_linear_maximisation([1, 1, 1], q, 0.1).policy, [0.2, 0.3, 0.5], rtol=1e-14)
    just_below = kl_linear_maximisation(reward, q, np.log(2) * (1 - 1e-9)).policy
    np.testing.assert_allclose(just_below, [0.4, 0.6, 0], atol=1e-6)


def test_bad_arguments_are_named():
    q = np.log([0.5, 0.5])
    with pytest.raises(InputError, match="reward"):
        kl_linear_maximisation([np.nan, 1], q, 1)
    with pytest.raises(InputError, match="log_reference"):
        kl_linear_maximisation([0, 1], [0.0, -np.inf], 1)
    with pytest.raises(InputError, match="log_reference sums to"):
        kl_linear_maximisation([0, 1], [0.0, 0.0], 1)
    with pytest.raises(InputError, match="kl_budget"):
        kl_linear_maximisation([0, 1], q, -1)


def test_distortion_is_the_ratio_in_the_same_ball():
    u, q = np.array([0.9, 0.3, 0.1]), np.log([0.1, 0.5, 0.4])
    optimum = u @ oracle.kl_linear_maximisation(u, np.exp(q), 0.2)
    assert distortion(u, np.exp(q), q, 0.2) == pytest.approx(optimum / (u @ np.exp(q)), rel=1e-5)
    assert distortion(u, np.exp(q), q, 0.0) == 1


def test_distortion_conventions():
    q = np.log([0.5, 0.5])
    assert distortion([0, 0], [1, 0], q, 1) == 1
    assert distortion([0, 1], [1, 0], q, 1) == np.inf
    assert distortion([0, 1], [0, 1], q, 1) == 1


def test_a_policy_outside_the_ball_has_no_distortion():
    q = np.log([0.5, 0.5])
    with pytest.raises(InputError, match="outside the ball"):
        distortion([1, 0.5], [1, 0], q, 0.1)
    with pytest.raises(InputError, match="outside the ball"):  # it spends too much, though it achieves little
        distortion([1, 0.5], [0, 1], q, 0.1)
    with pytest.raises(InputError, match="policy"):
        distortion([1, 0.5], [0.5, 0.4], q, 0.1)
    with pytest.raises(InputError, match="avg_utility"):
        distortion([1, -0.5], [0.5, 0.5], q, 0.1)
