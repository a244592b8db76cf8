"""Where AuxDPO ends, by other roads: least squares, RLHF's root at strong pulls, and a known information."""

import numpy as np
import pytest

from distalign.theory.f_dpo import auxiliary
from distalign.theory.f_dpo.asymptotics import reward_covariance
from distalign.theory.f_dpo.misspecified import rlhf_parameter

RNG = np.random.default_rng(4)
REWARD, FEATURES = RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5, 2))
REFERENCE, PROMPTS = RNG.dirichlet(np.full(5, 3.0), size=2), np.array([0.3, 0.7])


def test_natural_step_is_weighted_least_squares_with_a_constant_for_each_prompt():
    root = np.sqrt(PROMPTS[:, None] * REFERENCE).ravel()
    constants = np.repeat(np.eye(2), 5, axis=0)
    design = np.concatenate([FEATURES.reshape(10, 2), constants], 1)
    expected = np.linalg.lstsq(root[:, None] * design, root * REWARD.ravel(), rcond=None)[0][:2] / 0.4
    found = auxiliary.natural_step(REWARD, FEATURES, REFERENCE, PROMPTS, 0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_distance_to_rlhf_is_of_second_order():
    reward, feature, reference = REWARD[0], FEATURES[0, :, 0], REFERENCE[0]
    limit, off = auxiliary.distance_to_rlhf(reward, feature, reference), []
    for beta in (30.0, 300.0):
        args = reward[None], feature[None, :, None], reference[None], np.ones(1), beta
        step = float(auxiliary.natural_step(*args)[0])
        off.append(abs(beta**2 * (rlhf_parameter(reward, feature, reference, beta) - step) - limit))
    assert off[0] < 0.3 * abs(limit)
    assert off[1] / off[0] == pytest.approx(0.1, rel=0.2)


def test_dpo_is_the_efficient_one_of_the_two_and_both_agree_where_nothing_is_left_over():
    """Three responses and two features: the class holds every reward, so there are no auxiliary variables."""
    features, reference = RNG.normal(size=(3, 2)), np.array([0.2, 0.3, 0.5])
    pairs = np.array([[0.0, 0.2, 0.15], [0.1, 0.0, 0.25], [0.2, 0.1, 0.0]])
    fitted = reward_covariance(pairs)
    plain = auxiliary.dpo_covariance(features, pairs, 0.7)
    np.testing.assert_allclose(
        auxiliary.auxiliary_covariance(features, reference, fitted, 0.7), plain, rtol=1e-8
    )
    one = features[:, :1]
    price = auxiliary.auxiliary_covariance(one, reference, fitted, 0.7) / auxiliary.dpo_covariance(
        one, pairs, 0.7
    )
    assert price.item() > 1
