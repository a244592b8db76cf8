"""Asymptotic covariances against influence functions of the exact solvers, and the constant against samples."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import consistency_populations
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio import asymptotic_covariance, total_variation_constant


def pairs(name):
    population = consistency_populations()[name]
    k = population.reference.shape[1]
    return population.pairs().weights.reshape(k, k), population.reference[0]


def independent(t):
    rng = np.random.default_rng(3)
    up, down = rng.dirichlet(np.full(6, 4.0)), rng.dirichlet(np.full(6, 4.0))
    return np.outer(up, down), t * up + (1 - t) * down


def solve(estimator, joints, ref, t):
    up, down = joints.sum(-1), joints.sum(-2)
    if estimator == "sft":
        return up
    if estimator == "rdro":
        return rdro_policy(up, down, ref, alpha=t).policy
    return ddro_policy(up, down, ref, prior=t).policy


@pytest.mark.parametrize("estimator", ["sft", "rdro", "ddro"])
@pytest.mark.parametrize(("joint", "ref", "t"), [(*pairs("tiers"), 0.5), (*pairs("bradley_terry"), 0.5),
                                                (*independent(0.39), 0.39)], ids=["tiers", "bradley_terry", "independent"])
def test_covariance_is_that_of_the_influence_function(estimator, joint, ref, t):
    step, k = 1e-6, len(ref)
    atoms = np.eye(k * k).reshape(-1, k, k)
    policies = [solve(estimator, (1 - s) * joint + s * atoms, ref, t) for s in (step, -step)]
    influence = (policies[0] - policies[1]) / (2 * step)
    expected = influence.T @ (joint.reshape(-1, 1) * influence)
    found = asymptotic_covariance(estimator, joint, t)
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-12)


def test_pairs_are_not_independent_draws():
    joint, _ = pairs("tiers")
    product = np.outer(joint.sum(1), joint.sum(0))
    constants = [total_variation_constant(asymptotic_covariance("rdro", j)) for j in (joint, product)]
    assert abs(constants[0] / constants[1] - 1) > 0.01


def test_constant_against_samples():
    joint, ref = pairs("mixed")
    n, replicates, target = 20_000, 2000, joint.sum(1)
    counts = np.random.default_rng(0).multinomial(n, joint.ravel() / joint.sum(), replicates).reshape(-1, *joint.shape) / n
    for estimator in ("sft", "rdro", "ddro"):
        measured = 0.5 * np.abs(solve(estimator, counts, ref, 0.5) - target).sum(1)
        predicted = total_variation_constant(asymptotic_covariance(estimator, joint)) / np.sqrt(n)
        assert abs(measured.mean() - predicted) < 4 * measured.std() / np.sqrt(replicates)


def test_rdro_is_never_better_than_ddro_asymptotically():
    for name in consistency_populations():
        joint, _ = pairs(name)
        constants = {e: total_variation_constant(asymptotic_covariance(e, joint)) for e in ("sft", "rdro", "ddro")}
        assert constants["ddro"] <= constants["rdro"] * 1.001 < constants["sft"]


def test_bad_input():
    with pytest.raises(InputError, match="estimator must be one of"):
        asymptotic_covariance("dpo", np.eye(2) / 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="joint must be"):
        asymptotic_covariance("sft", np.eye(2))
