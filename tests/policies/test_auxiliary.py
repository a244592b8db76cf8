"""The enlarged class of AuxDPO: its null space, every reward in it, and what comparisons do not determine."""

from functools import partial

import numpy as np
import pytest
import torch

from distalign.checks import InputError
from distalign.objectives import dpo
from distalign.policies import LogLinear, with_auxiliary
from distalign.populations import Law
from distalign.simulation.fit import fit

BETA = 0.5
REFERENCE = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.3, 0.2]])


def policy(features=2):
    return LogLinear(np.random.default_rng(0).normal(size=(2, 4, features)), REFERENCE)


def answers(pairs):
    """Both answers to each of the pairs, the first 0.7 of the time."""
    i, j = np.array(pairs).T
    return Law(np.concatenate([i, j]), np.concatenate([j, i]), np.repeat([0.7, 0.3], len(pairs)))


@pytest.mark.parametrize("prompts", [None, [0.9, 0.1]])
def test_auxiliary_rewards_have_no_covariance_with_the_features(prompts):
    enlarged = with_auxiliary(policy(), beta=BETA, prompts=prompts)
    shares = np.full(2, 0.5) if prompts is None else np.array(prompts)
    psi, auxiliary = enlarged.features.numpy()[..., :2], enlarged.features.numpy()[..., 2:]
    centred = psi - (REFERENCE[..., None] * psi).sum(1, keepdims=True)
    products = np.einsum("s,sk,skd,skj->dj", shares, REFERENCE, centred, auxiliary)
    np.testing.assert_allclose(products, 0, atol=1e-14)
    assert auxiliary.shape[-1] == 8 - 2


def test_every_reward_is_in_the_enlarged_class_up_to_constants_of_the_prompts():
    enlarged = with_auxiliary(policy(), beta=BETA)
    assert enlarged.directions.shape[1] == 2 * (4 - 1)


def test_features_that_say_the_same_are_counted_once():
    features = np.random.default_rng(0).normal(size=(2, 4, 1))
    doubled = LogLinear(np.concatenate([features, 2 * features], -1), REFERENCE)
    assert with_auxiliary(doubled, beta=BETA).dimension == 2 + 8 - 1


def test_pairs_that_do_not_connect_the_responses_leave_the_parameter_open():
    """Responses 0, 1 are never compared with 2, 3: the enlarged class has a direction that costs nothing."""
    small = LogLinear(np.array([[1.0], [-1.0], [0.0], [0.5]]), REFERENCE[0])
    enlarged = with_auxiliary(small, beta=BETA)
    loss = partial(dpo, beta=BETA)
    apart = fit(enlarged, loss, answers([(0, 1), (2, 3)]))
    assert apart.curvature == pytest.approx(0, abs=1e-12)
    starts = [fit(enlarged, loss, answers([(0, 1), (2, 3)]), start=s * torch.ones(4)) for s in (0.0, 3.0)]
    assert abs(starts[0].theta[0] - starts[1].theta[0]) > 0.1
    connected = fit(enlarged, loss, answers([(0, 1), (1, 2), (2, 3)]))
    assert bool(connected.converged)
    assert connected.curvature > 1e-4


@pytest.mark.parametrize(
    ("options", "named"), [({"beta": 0.0}, "beta"), ({"beta": 1.0, "prompts": [0.5, 0.6]}, "prompts")]
)
def test_bad_arguments_are_named(options, named):
    with pytest.raises(InputError, match=named):
        with_auxiliary(policy(), **options)
