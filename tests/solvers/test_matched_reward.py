"""Optima of a given reward: they have it, they are optima, and nothing of that reward is nearer."""

from __future__ import annotations

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.divergences import divergence
from distalign.oracles.regularised import regularised_optimum
from distalign.solvers.matched_reward import policy_at_reward

RNG = np.random.default_rng(0)
REWARD, REF = RNG.normal(size=(40, 6)), 0.9 * RNG.dirichlet(np.ones(6), 40) + 0.1 / 6
BASE = (REF * REWARD).sum(1)


@pytest.mark.parametrize(
    "name", ["reverse_kl", "forward_kl", "alpha:0.3", "jensen_shannon", "chi2_plus_kl", "chi2"]
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_reward_is_reached_by_the_conic_program_s_optimum(name, share):
    target = BASE + share * (REWARD.max(1) - BASE)
    beta, best = policy_at_reward(REWARD, REF, target, name)
    np.testing.assert_allclose((best.policy * REWARD).sum(1), target, atol=1e-10)
    oracle = regularised_optimum(REWARD[0], REF[0], float(beta[0]), name)
    np.testing.assert_allclose(best.policy[0], oracle, atol=1e-6)


def test_no_policy_of_that_reward_is_nearer():
    target = BASE + 0.5 * (REWARD.max(1) - BASE)
    best = policy_at_reward(REWARD, REF, target, "forward_kl")[1].policy
    move = np.random.default_rng(1).normal(size=(200, *best.shape))
    basis = np.stack([np.ones_like(REWARD), REWARD - REWARD.mean(1, keepdims=True)], 1)
    for row in basis.swapaxes(0, 1):
        move -= (move * row).sum(-1, keepdims=True) / (row * row).sum(-1, keepdims=True) * row
    other = best + 0.3 * move * (best / np.abs(move)).min(-1, keepdims=True)
    np.testing.assert_allclose((other * REWARD).sum(-1), np.broadcast_to(target, other.shape[:2]), atol=1e-9)
    f = divergence("forward_kl").f
    assert ((REF * f(other / REF)).sum(-1) > (REF * f(best / REF)).sum(-1)).all()


@pytest.mark.parametrize("target", [0.5, 1.0, 0.2])
def test_a_reward_out_of_reach_is_refused(target):
    with pytest.raises(InputError, match="target must lie strictly between"):
        policy_at_reward([1.0, 0.0], [0.5, 0.5], target, "reverse_kl")
