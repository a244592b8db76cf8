"""Asymptotic covariances against influence functions of the exact solvers, and the constant against
samples.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import consistency_populations
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio.asymptotics import (
    asymptotic_covariance,
    divergence_constant,
    total_variation_constant,
    unpaired_covariance,
)
from distalign.theory.density_ratio.losses import coefficients, ddro_bound, rdro_bound


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
@pytest.mark.parametrize(
    ("joint", "ref", "t"),
    [(*pairs("tiers"), 0.5), (*pairs("bradley_terry"), 0.5), (*independent(0.39), 0.39)],
    ids=["tiers", "bradley_terry", "independent"],
)
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
    counts = (
        np.random.default_rng(0)
        .multinomial(n, joint.ravel() / joint.sum(), replicates)
        .reshape(-1, *joint.shape)
        / n
    )
    for estimator in ("sft", "rdro", "ddro"):
        measured = 0.5 * np.abs(solve(estimator, counts, ref, 0.5) - target).sum(1)
        predicted = total_variation_constant(asymptotic_covariance(estimator, joint)) / np.sqrt(n)
        assert abs(measured.mean() - predicted) < 4 * measured.std() / np.sqrt(replicates)


def test_rdro_is_never_better_than_ddro_asymptotically():
    for name in consistency_populations():
        joint, _ = pairs(name)
        constants = {
            e: total_variation_constant(asymptotic_covariance(e, joint)) for e in ("sft", "rdro", "ddro")
        }
        assert constants["ddro"] <= constants["rdro"] * 1.001 < constants["sft"]


ESTIMATORS = ["sft", "rdro", "ddro"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_independent_classes_are_pairs_of_independent_draws(estimator):
    joint, _ = independent(0.39)
    up, down = joint.sum(1), joint.sum(0)
    unpaired = unpaired_covariance(estimator, up, down, 0.39, 0.5)
    np.testing.assert_allclose(unpaired, 2 * asymptotic_covariance(estimator, joint, 0.39))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_contrasts_as_features_are_all_policies(estimator):
    """Two roads: the projection that keeps the mass, and the sandwich over K - 1 directions."""
    joint, _ = independent(0.39)
    up, down = joint.sum(1), joint.sum(0)
    features = np.random.default_rng(0).normal(size=(6, 5))
    both = [unpaired_covariance(estimator, up, down, 0.39, 0.3, f) for f in (None, features)]
    np.testing.assert_allclose(*both, atol=1e-12)
    few = unpaired_covariance(estimator, up, down, 0.39, 0.3, features[:, :2])
    assert np.linalg.matrix_rank(few, tol=1e-10) == 2
    np.testing.assert_allclose(few.sum(0), 0, atol=1e-12)


def test_sft_of_d_features_has_the_divergence_of_d_parameters():
    joint, _ = independent(0.5)
    up, down = joint.sum(1), joint.sum(0)
    v = unpaired_covariance("sft", up, down, 0.5, 0.25, np.random.default_rng(0).normal(size=(6, 3)))
    assert divergence_constant(v, up) == pytest.approx(3 / 2 / 0.25)


def test_the_sandwich_is_that_of_the_published_matrices():
    """RDRO: A = E_ref[r/(1+r) GG^T]; DDRO: A = E_ref[t r/(1-t r) GG^T], r = p+/p_ref; B from the loss's
    coefficients.
    """
    t, share = 0.4, 0.3
    joint, ref = independent(t)
    up, down = joint.sum(1), joint.sum(0)
    features = np.random.default_rng(1).normal(size=(6, 2))
    g, r = features - up @ features, up / ref
    for name, loss, weight in (
        ("rdro", "rdro logistic", r / (1 + r)),
        ("ddro", "ddro label_mle", t * r / (1 - t * r)),
    ):
        a = (g.T * (ref * weight)) @ g
        b = sum(
            np.cov((c[:, None] * g).T, aweights=p, ddof=0) / s
            for c, p, s in zip(coefficients(loss, r, t), (up, down), (share, 1 - share), strict=True)
        )
        theta = np.linalg.solve(a, np.linalg.solve(a, b).T)
        expected = (up[:, None] * g) @ theta @ (up[:, None] * g).T
        np.testing.assert_allclose(
            unpaired_covariance(name, up, down, t, share, features), expected, atol=1e-12
        )


def test_bounds_of_the_reference_values():
    assert rdro_bound(0.5) == pytest.approx(1.5**0.5)
    for sup, constant in ((1.4, 1.3), (3.6, 2.9), (7.9, 5.9), (28, 20), (85, 60), (857, 606)):
        assert ddro_bound(sup) == pytest.approx(constant, rel=0.03)


def test_bad_input_of_losses():
    for call, message in (
        (lambda: coefficients("dpo", np.ones(1), 0.5), "unknown loss"),
        (lambda: ddro_bound(0), "sup must"),
        (lambda: coefficients("ddro lsif", np.full(1, 2.0), 0.5), "rho must stay below"),
        (lambda: rdro_bound(1.0), "alpha must be"),
        (lambda: unpaired_covariance("sft", np.ones(2) / 2, np.ones(2) / 2, 0.5, 0.0), "share must be"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_bad_input():
    with pytest.raises(InputError, match="estimator must be one of"):
        asymptotic_covariance("dpo", np.eye(2) / 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="joint must be"):
        asymptotic_covariance("sft", np.eye(2))
