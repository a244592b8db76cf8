"""What n comparisons cost, by a second road: the loss at rewards that are moved by hand."""

import numpy as np
import pytest

from distalign.divergences import divergence
from distalign.populations import Population, win_matrix
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.asymptotics import reward_covariance
from distalign.theory.f_dpo.coverage import regret_constant, regret_floor, regret_limit

REWARD, REFERENCE, BETA = np.array([0.8, 0.0, -0.3, 0.2]), np.array([0.05, 0.4, 0.25, 0.3]), 0.4


def covariance():
    truth = Population(win_matrix(REWARD[None], [1.0], 1.0), REFERENCE)
    return reward_covariance(truth.pairs().weights.reshape(4, 4))


@pytest.mark.parametrize("name", ["reverse_kl", "chi2_plus_kl", "jeffreys"])
def test_constant_is_half_the_curvature_of_the_loss(name):
    """Rewards moved along the columns of a root of the covariance, both ways: E of the quadratic form."""
    f = divergence(name)
    policy = regularised_policy(REWARD, REFERENCE, BETA, f).policy

    def gain(p):
        return p @ REWARD - BETA * REFERENCE @ f.f(p / REFERENCE)

    values, vectors = np.linalg.eigh(covariance())
    moves = 1e-4 * vectors * np.sqrt(np.maximum(values, 0))
    moved = [regularised_policy(REWARD + s * m, REFERENCE, BETA, f).policy for m in moves.T for s in (1, -1)]
    lost = sum(gain(policy) - gain(p) for p in moved) / 2e-8
    weight = np.broadcast_to(f.weight(np.log(policy / REFERENCE)), 4)
    assert regret_constant(policy, weight, BETA, covariance()) == pytest.approx(lost, rel=1e-4)


def test_the_floor_grows_with_coverage_and_the_limit_does_not():
    policy = np.array([0.5, 0.3, 0.2])
    floors = [regret_floor(policy, [q, (1 - q) / 2, (1 - q) / 2], BETA) for q in (1e-2, 1e-4)]
    assert floors[1] / floors[0] == pytest.approx(100, rel=0.02)
    assert regret_limit(REWARD, BETA, 2.0) == pytest.approx(regret_limit(REWARD, BETA, 1.0) / 2)
