"""RLHF's parameter in a class of one feature, where features nearly agree and where rewards are small."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.theory.f_dpo.misspecified import _objective, rlhf_parameter


@pytest.mark.parametrize("difference", [1e-7, 2e-4, 1e-2, 1.0, 30.0])
def test_two_responses_by_hand(difference):
    """theta = (r_1 - r_0) / (beta (psi_1 - psi_0))."""
    found = rlhf_parameter(np.array([difference, 0]), np.array([0.5, 0]), np.array([0.3, 0.7]), 0.5)
    assert found == pytest.approx(4 * difference, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_nearly_equal_features_leave_the_best_of_all(seed):
    """With two features 1e-3 apart theta may reach a thousand logits; a finer grid finds no better."""
    rng = np.random.default_rng(seed)
    reward, feature = rng.normal(size=5), rng.normal(size=5)
    feature[1], reward[1] = feature[0] + 10 ** rng.uniform(-3, -2.7), reward[0] + 1
    reference, beta = rng.dirichlet(np.full(5, 3.0)), 0.5
    found = rlhf_parameter(reward, feature, reference, beta)
    slopes = np.abs(np.subtract.outer(reward, reward)) / (
        np.abs(np.subtract.outer(feature, feature)) + np.eye(5)
    )
    assert slopes.max() / beta * np.ptp(feature) > 300
    end = 1.01 * slopes.max() / beta
    finer = np.concatenate([np.linspace(-end, end, 300_001), np.linspace(-50, 50, 20_001)])
    best = _objective(finer, reward, feature, reference, beta).max()
    assert _objective(np.array([found]), reward, feature, reference, beta)[0] >= best - 1e-8


def test_out_of_its_range_it_is_refused():
    with pytest.raises(InputError, match="take another beta"):
        rlhf_parameter(np.array([1.0, 0, 0]), np.array([1.0, 1 + 1e-6, 0]), np.full(3, 1 / 3), 0.5)
    with pytest.raises(InputError, match="digits are lost"):
        rlhf_parameter(np.array([9.0 + 1e-9, 9.0]), np.array([1.0, 0]), np.array([0.5, 0.5]), 0.5)
