"""The best tilts by sums, on scores alone: the optima where these are tilts by a sum, and not else."""

import numpy as np
import pytest

from distalign.bridge.generation import tilts
from distalign.bridge.studies.free import reach
from distalign.checks import InputError
from distalign.divergences import divergence

SUMS = np.random.default_rng(0).normal(size=(1, 2, 160))


@pytest.mark.parametrize("name", ["reverse_kl", "jensen_shannon", "forward_kl", "alpha:0.3"])
def test_an_optimum_that_is_a_tilt_by_a_sum_is_found(name):
    f, target = divergence(name), reach.tilt_by(np.array([0.8]), SUMS)
    reward = 0.7 * f.link(target.log_ratio)
    found = reach.best_sum_of_pairs(SUMS, reward, beta=0.7, f=f)
    assert found.log_ratio == pytest.approx(target.log_ratio, abs=1e-2)
    assert found.log_ratio == pytest.approx(tilts.f_dpo(reward, 0.7, f).log_ratio, abs=1e-2)


def test_under_a_reward_that_saturates_dpo_spends_more_and_a_policy_gradient_less():
    """Two projections of one optimum on the same laws; the roles of the KL's arguments are exchanged."""
    reward, beta = 3 / (1 + np.exp(-2 * SUMS[0])), 0.7
    optimum = tilts.rlhf(reward, beta).kl().mean()
    dpo = reach.best_sum_of_pairs(SUMS, reward, beta=beta, f=divergence("reverse_kl"))
    rlhf = reach.best_sum(SUMS, lambda ratio: reach.regret(ratio, reward, beta=beta))
    assert rlhf.kl().mean() < 0.95 * optimum
    assert dpo.kl().mean() > 1.15 * optimum
    better = reach.regret(rlhf.log_ratio, reward, beta=beta)
    assert better < reach.regret(dpo.log_ratio, reward, beta=beta)


def test_a_second_score_is_used_where_it_helps():
    two = np.random.default_rng(1).normal(size=(2, 1, 300))
    found = reach.best_sum(two, lambda ratio: float(((ratio - ratio.mean() - 0.3 * two[1]) ** 2).mean()))
    assert np.corrcoef(found.log_ratio[0], two[1, 0])[0, 1] > 0.999


def test_a_loss_without_a_smallest_value_is_refused():
    with pytest.raises(InputError, match="take a larger beta"):
        reach.best_sum(SUMS, lambda ratio: float("nan"))
