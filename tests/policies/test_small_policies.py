"""Tabular and log-linear policies: the reference at zero, the gauge, the seam."""

import numpy as np
import pytest
import torch

from distalign import InputError
from distalign.policies import LogLinear, Tabular, score

RNG = np.random.default_rng(0)
REFERENCE = RNG.dirichlet(np.ones(4), size=3)
FEATURES = RNG.normal(size=(3, 4, 5))
POLICIES = {"tabular": Tabular(REFERENCE), "log-linear": LogLinear(FEATURES, REFERENCE)}


@pytest.fixture(params=POLICIES.values(), ids=POLICIES.keys())
def policy(request: pytest.FixtureRequest) -> Tabular | LogLinear:
    return request.param


def test_zero_is_the_reference(policy: Tabular | LogLinear) -> None:
    table = policy.log_probs(torch.zeros(policy.dimension, dtype=torch.float64))
    np.testing.assert_allclose(table.exp(), REFERENCE, atol=1e-15)
    assert table.dtype == torch.float64


def test_rows_sum_to_one(policy: Tabular | LogLinear) -> None:
    theta = 30 * torch.randn(
        policy.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    np.testing.assert_allclose(policy.log_probs(theta).exp().sum(-1), 1.0, atol=1e-14)


def test_log_ratio_differences_are_the_parameters() -> None:
    theta = torch.linspace(-2, 3, 12, dtype=torch.float64)
    ratio = POLICIES["tabular"].log_probs(theta) - POLICIES["tabular"].log_reference
    np.testing.assert_allclose(
        ratio - ratio[:, :1], theta.reshape(3, 4) - theta.reshape(3, 4)[:, :1], atol=1e-13
    )
    ratio = POLICIES["log-linear"].log_probs(theta[:5]) - POLICIES["log-linear"].log_reference
    offset = torch.as_tensor(FEATURES) @ theta[:5]
    np.testing.assert_allclose(ratio - ratio[:, :1], offset - offset[:, :1], atol=1e-13)


def test_log_probs_differentiate(policy: Tabular | LogLinear) -> None:
    theta = torch.randn(policy.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(policy.log_probs, theta.requires_grad_())


def test_directions_are_orthonormal_and_complete(policy: Tabular | LogLinear) -> None:
    q = policy.directions
    np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-13)
    theta = torch.randn(policy.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    np.testing.assert_allclose(policy.log_probs(q @ (q.T @ theta)), policy.log_probs(theta), atol=1e-12)
    jacobian = torch.func.jacrev(policy.log_probs)(theta).flatten(0, 1) @ q
    assert torch.linalg.matrix_rank(jacobian) == q.shape[1]


def test_number_of_directions() -> None:
    assert POLICIES["tabular"].directions.shape == (12, 9)
    assert POLICIES["log-linear"].directions.shape == (5, 5)
    shared = np.concatenate([FEATURES, np.ones((3, 4, 1)), FEATURES[..., :1]], axis=-1)
    assert LogLinear(shared, REFERENCE).directions.shape == (7, 5)


def test_log_linear_with_one_feature_for_each_response_is_tabular() -> None:
    theta = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    one_hot = LogLinear(np.eye(12).reshape(3, 4, 12), REFERENCE)
    np.testing.assert_allclose(one_hot.log_probs(theta), POLICIES["tabular"].log_probs(theta), atol=1e-14)


def test_score_reads_response_y_of_prompt_s_at_s_times_k_plus_y() -> None:
    policy = POLICIES["tabular"]
    theta = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    batch = score(policy, theta, torch.tensor([6, 0]), torch.tensor([11, 3, 5]), torch.tensor([1.0, 2.0]))
    table = policy.log_probs(theta)
    assert batch.chosen.tolist() == [table[1, 2], table[0, 0]]
    assert batch.rejected.tolist() == [table[2, 3], table[0, 3], table[1, 1]]
    np.testing.assert_allclose(batch.ref_rejected.exp(), REFERENCE.ravel()[[11, 3, 5]])
    assert batch.weights.tolist() == [1.0, 2.0]


def test_input_is_checked() -> None:
    for reference, match in (
        ([0.5, 0.6], "sum to 1"),
        ([1.0, 0.0], "positive"),
        ([1.0], "shape"),
        ([[[0.5, 0.5]]], "shape"),
    ):
        with pytest.raises(InputError, match=match):
            Tabular(reference)
    for features, match in (
        (np.zeros((2, 3)), "features must be finite"),
        (np.full((2, 1), np.nan), "finite"),
        (np.ones((2, 3)), "the same for every response"),
    ):
        with pytest.raises(InputError, match=match):
            LogLinear(features, [0.2, 0.3, 0.5] if match == "features must be finite" else [0.5, 0.5])
