"""The stationarity solver against the conic program, its certificate at extremes, and its refusals."""

import numpy as np
import pytest

from distalign import InputError
from distalign.divergences import divergence
from distalign.oracles.regularised import regularised_optimum
from distalign.solvers.kkt import regularised_policy

NAMES = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "alpha:0.7",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
    "chi2",
)


def problems(seed, count, responses):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, responses)), rng.dirichlet(np.ones(responses), count)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [3.0, 1.0, 0.1])
def test_against_the_conic_program(name, beta):
    reward, ref = problems(0, 4, 8)
    best = regularised_policy(reward, ref, beta, name)
    oracle = np.stack([regularised_optimum(r, q, beta, name) for r, q in zip(reward, ref, strict=True)])
    np.testing.assert_allclose(best.policy, oracle, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [100.0, 1.0, 1e-3])
def test_certificate(name, beta):
    reward, ref = problems(1, 200, 12)
    ref = 0.999 * ref + 0.001 * np.eye(12)[0]
    best = regularised_policy(reward, ref, beta, name)
    assert best.mass_defect.max() < 1e-12
    assert best.stationarity.max() < 1e-12 * max(1, beta)
    if divergence(name).admissible:
        assert np.isfinite(best.log_policy).all()


@pytest.mark.parametrize("name", NAMES)
def test_tiny_references_and_equal_rewards(name):
    ref = np.array([1e-12, 0.3, 0.7 - 1e-12])
    for reward in ([2.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]):
        best = regularised_policy(reward, ref, 0.5, name)
        assert best.mass_defect < 1e-10
        assert best.stationarity < 1e-10
    np.testing.assert_allclose(best.policy, ref, rtol=1e-9)


def test_certificate_sees_another_policy():
    """The number that certifies is not small by construction: a policy for another beta fails it."""
    reward, ref = problems(2, 1, 6)
    best = regularised_policy(reward, ref, 1.0, "reverse_kl")
    defect = 2.0 * best.log_ratio + best.multiplier[:, None] - reward
    assert np.abs(defect).max() > 0.1


def test_leading_axes_are_independent():
    reward, ref = problems(3, 12, 5)
    batch = regularised_policy(reward.reshape(3, 4, 5), ref.reshape(3, 4, 5), 0.4, "jensen_shannon")
    alone = [regularised_policy(r, q, 0.4, "jensen_shannon").policy for r, q in zip(reward, ref, strict=True)]
    np.testing.assert_allclose(batch.policy.reshape(12, 5), alone, atol=1e-12)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reward": [1.0]}, "reward must be finite and ref"),
        ({"reward": [np.nan, 1.0]}, "reward must be finite"),
        ({"ref": [1.0, 0.0]}, "ref must be positive"),
        ({"ref": [0.5, 0.6]}, "ref must be positive"),
        ({"beta": 0.0}, "beta must be"),
        ({"f": "total_variation"}, "no inverse link"),
        ({"f": "nonsense"}, "divergence must be"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(InputError, match=message):
        regularised_policy(
            **{"reward": [0.0, 1.0], "ref": [0.5, 0.5], "beta": 1.0, "f": "reverse_kl", **kwargs}
        )


@pytest.mark.parametrize("f", ["reverse_kl", "forward_kl", "jensen_shannon", "chi2"])
def test_strengths_are_a_batch_axis(f):
    rng = np.random.default_rng(5)
    reward, ref, betas = (
        rng.normal(size=(3, 1, 6)),
        rng.dirichlet(np.ones(6)),
        np.array([0.2, 1.0, 5.0, 20.0]),
    )
    together = regularised_policy(reward, ref, betas, f)
    assert together.policy.shape == (3, 4, 6)
    for j, beta in enumerate(betas):
        np.testing.assert_allclose(
            together.policy[:, j], regularised_policy(reward[:, 0], ref, beta, f).policy, atol=1e-12
        )
    with pytest.raises(InputError, match="beta must be"):
        regularised_policy(reward, ref, [1.0, 0.0], f)
