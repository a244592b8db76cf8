"""f-DPO's limits against derivatives of the table and of the solver, and against samples."""

from __future__ import annotations

import numpy as np
import pytest

from distalign.divergences import divergence
from distalign.populations import Population, win_matrix
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo import asymptotics as theory

NAMES = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
)
REWARD, REF = np.array([0.7, -0.4, 0.1, -0.9]), np.array([0.1, 0.3, 0.4, 0.2])


@pytest.mark.parametrize("name", NAMES)
def test_skew_is_the_table_s_third_derivative(name):
    """u f''(u) has slope f''(1) + f'''(1) in log u at 0."""
    f = divergence(name)
    slope = (f.weight(np.float64(1e-5)) - f.weight(np.float64(-1e-5))) / 2e-5
    assert theory.skew(name) == pytest.approx(slope / f.curvature - 1)


@pytest.mark.parametrize("name", NAMES)
def test_policy_covariance_is_the_solver_s_jacobian(name):
    beta, step = 0.6, 1e-6
    best = regularised_policy(REWARD, REF, beta, name)
    shifted = (
        regularised_policy(REWARD + sign * step * np.eye(4), REF, beta, name).policy for sign in (1, -1)
    )
    up, down = shifted
    jacobian = (up - down).T / (2 * step)
    weight = np.broadcast_to(divergence(name).weight(best.log_ratio), 4)
    noise = np.diag([1.0, 2.0, 0.5, 1.5])
    found = theory.policy_covariance(best.policy, weight, beta, noise)
    np.testing.assert_allclose(found, jacobian @ noise @ jacobian.T, atol=1e-7)


def test_reward_covariance_is_that_of_samples():
    population = Population(win_matrix(REWARD[None], [1.0], 1.0), REF)
    n, predicted = 200_000, theory.reward_covariance(population.pairs().weights.reshape(4, 4))
    sample = population.sample_pairs(n, np.random.default_rng(0), replicates=20_000)
    errors = bradley_terry_rewards(sample.weights.reshape(-1, 4, 4)).reward - (REWARD - REWARD.mean())
    np.testing.assert_allclose(
        n * errors.T @ errors / len(errors), predicted, rtol=0, atol=5 * 16 / np.sqrt(20_000)
    )


@pytest.mark.parametrize("name", NAMES)
def test_expansion_at_a_strong_pull(name):
    f, b = divergence(name), 400.0
    policy = regularised_policy(REWARD, REF, b / f.curvature, name).policy
    dpo = regularised_policy(REWARD, REF, b, "reverse_kl").policy
    gap = theory.second_order_gap(REWARD, REF, theory.skew(name) - theory.skew("reverse_kl"))
    assert 0.5 * np.abs(policy - dpo).sum() == pytest.approx(gap / b**2, rel=0.02, abs=1e-12)
    near = (REF * f.f(policy / REF)).sum()
    assert near == pytest.approx(theory.small_divergence(REWARD, REF, b / f.curvature, f.curvature), rel=0.02)


def test_divergence_constant_is_the_second_order_of_the_divergence():
    rng = np.random.default_rng(1)
    move = rng.normal(size=(200_000, 4)) * 1e-3
    move -= move.mean(1, keepdims=True)
    for name in ("forward_kl", "jensen_shannon"):
        f = divergence(name)
        mean = (REF * f.f(1 + move / REF)).sum(1).mean()
        assert mean == pytest.approx(
            theory.divergence_constant(move.T @ move / len(move), REF, f.curvature), rel=1e-3
        )
