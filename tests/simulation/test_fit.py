"""The batched fit against closed forms, against scipy one replicate at a time, and where there is no
minimiser.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from small_losses import ddro, dpo, rdro, sft

from distalign import InputError
from distalign.policies import LogLinear, Policy, Tabular, score
from distalign.populations import (
    Law,
    Population,
    consistency_populations,
    log_linear_bradley_terry,
    random_intransitive,
    win_matrix,
)
from distalign.simulation import fit as fit_module
from distalign.simulation.fit import Fit, fit


def one_by_one(policy: Policy, objective: Callable, law: Law) -> np.ndarray:
    """The reference road: scipy's L-BFGS on each replicate, theta without gauge component."""

    def solve(row: Law) -> np.ndarray:
        weights = [torch.as_tensor(w) for w in (row.weights, row.rejected_weights) if w is not None]

        def value_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
            point = torch.tensor(z, requires_grad=True)
            batch = score(
                policy,
                policy.directions @ point,
                torch.as_tensor(row.chosen),
                torch.as_tensor(row.rejected),
                *weights,
            )
            value = objective(batch)
            return value.item(), torch.autograd.grad(value, point)[0].numpy()

        found = minimize(
            value_and_gradient,
            np.zeros(policy.directions.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 10_000, "ftol": 1e-16, "gtol": 1e-10},
        )
        return policy.directions.numpy() @ found.x

    return np.stack([solve(law.replicate(r)) for r in range(law.replicates or 0)])


def assert_same_minimisers(found: Fit, other: np.ndarray) -> None:
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, other, atol=2e-5, rtol=0)


@pytest.fixture(scope="module")
def population() -> Population:
    rng = np.random.default_rng(3)
    win = np.stack([random_intransitive(rng, 5, sd=1.0) for _ in range(2)])
    return Population(win, rng.dirichlet(np.full(5, 5.0), size=2), [0.4, 0.6])


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_population_dpo_on_bradley_terry_is_the_exponential_tilt(beta: float) -> None:
    utilities = np.random.default_rng(0).normal(size=(1, 8))
    population = Population(win_matrix(utilities, [1.0], 1.0), np.random.default_rng(1).dirichlet(np.ones(8)))
    found = fit(Tabular(population.reference), partial(dpo, beta=beta), population.pairs())
    tilt = utilities / beta + np.log(population.reference)
    assert found.converged
    np.testing.assert_allclose(found.theta, utilities[0] / beta - utilities.mean() / beta, atol=1e-6)
    np.testing.assert_allclose(found.log_probs, tilt - np.log(np.exp(tilt).sum()), atol=1e-6)


def test_population_dpo_finds_theta_star() -> None:
    instance = log_linear_bradley_terry(np.random.default_rng(2), 3, 4, 3, norm=2.5, beta=0.8)
    policy = LogLinear(instance.features, instance.population.reference)
    for distinct in (False, True):
        found = fit(policy, partial(dpo, beta=0.8), instance.population.pairs(distinct=distinct))
        assert found.converged
        np.testing.assert_allclose(found.theta, instance.theta_star, atol=1e-7)


@pytest.mark.parametrize("name", list(consistency_populations()))
def test_population_minimisers_are_the_preferred_law(name: str) -> None:
    population = consistency_populations()[name]
    for objective in (sft, rdro, ddro):
        found = fit(Tabular(population.reference), objective, population.pairs().unpaired())
        assert found.converged
        np.testing.assert_allclose(found.probs, population.preferred, atol=1e-9)
    for biased in (partial(rdro, alpha=0.3), dpo):
        found = fit(Tabular(population.reference), biased, population.pairs())
        assert found.converged
        assert np.abs(found.probs - population.preferred).max() > 1e-3


def test_published_plateau_of_dpo_on_the_intransitive_population() -> None:
    population = consistency_populations()["intransitive"]
    far = [
        0.5
        * np.abs(
            fit(Tabular(population.reference), partial(dpo, beta=beta), population.pairs()).probs
            - population.preferred
        ).sum()
        for beta in (0.1, 9.1)
    ]
    np.testing.assert_allclose(far, [0.7336, 0.0828], atol=1e-4)


def test_sft_on_a_sample_is_the_empirical_law(population: Population) -> None:
    law = population.thumbs().sample(4_000, np.random.default_rng(0), replicates=50)
    found = fit(Tabular(population.reference), sft, law)
    counts = law.weights.reshape(50, 2, 5)
    assert found.converged.all()
    np.testing.assert_allclose(found.probs, counts / counts.sum(-1, keepdims=True), atol=1e-9)
    assert found.theta.shape == (50, 10)
    assert found.log_probs.shape == (50, 2, 5)
    assert found.value.shape == found.curvature.shape == found.policy_step.shape == (50,)


@pytest.mark.parametrize("objective", [dpo, partial(dpo, beta=0.3), rdro, partial(rdro, alpha=0.2), sft])
@pytest.mark.parametrize("kind", ["tabular", "log-linear"])
def test_batched_newton_agrees_with_scipy(population: Population, objective: Callable, kind: str) -> None:
    features = np.random.default_rng(4).normal(size=(2, 5, 3))
    policy = Tabular(population.reference) if kind == "tabular" else LogLinear(features, population.reference)
    law = population.sample_pairs(3_000, np.random.default_rng(1), replicates=6)
    assert_same_minimisers(fit(policy, objective, law), one_by_one(policy, objective, law))


def test_comparison_with_scipy_sees_a_swapped_pair(population: Population) -> None:
    policy, law = (
        Tabular(population.reference),
        population.sample_pairs(3_000, np.random.default_rng(1), replicates=2),
    )
    swapped = Law(law.rejected, law.chosen, law.weights)
    with pytest.raises(AssertionError):
        assert_same_minimisers(fit(policy, dpo, swapped), one_by_one(policy, dpo, law))


def test_blocks_do_not_change_the_answer(population: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, law = (
        Tabular(population.reference),
        population.sample_pairs(2_000, np.random.default_rng(2), replicates=7),
    )
    whole = fit(policy, dpo, law)
    monkeypatch.setattr(fit_module, "_BLOCK", 2 * law.chosen.size * 2 * policy.directions.shape[1])
    parts = fit(policy, dpo, law)
    assert whole.iterations == parts.iterations
    np.testing.assert_allclose(whole.theta, parts.theta, atol=1e-12)
    np.testing.assert_array_equal(whole.converged, parts.converged)
    alone = fit(policy, dpo, law.replicate(4))
    np.testing.assert_allclose(alone.theta, whole.theta[4], atol=1e-12)
    assert alone.converged.shape == ()


def test_gauge_component_of_the_start_is_dropped(population: Population) -> None:
    policy, law = (
        Tabular(population.reference),
        population.sample_pairs(2_000, np.random.default_rng(2), replicates=3),
    )
    start = np.repeat([3.0, -7.0], 5)
    shifted, plain = fit(policy, dpo, law, start=start), fit(policy, dpo, law)
    np.testing.assert_allclose(shifted.theta, plain.theta, atol=1e-12)
    np.testing.assert_allclose(plain.theta.reshape(3, 2, 5).sum(-1), 0.0, atol=1e-12)


def test_far_start_finds_the_same_minimiser(population: Population) -> None:
    policy, law = (
        Tabular(population.reference),
        population.sample_pairs(2_000, np.random.default_rng(2), replicates=40),
    )
    start = 8 * np.random.default_rng(0).normal(size=(40, 10))
    for objective in (dpo, rdro, sft):
        far, near = fit(policy, objective, law, start=start), fit(policy, objective, law)
        assert far.converged.all()
        np.testing.assert_allclose(far.theta, near.theta, atol=1e-5)


def test_certificate_is_the_gradient_itself(population: Population) -> None:
    policy, law = (
        Tabular(population.reference),
        population.sample_pairs(2_000, np.random.default_rng(2), replicates=2),
    )
    found = fit(policy, dpo, law, max_iterations=1)
    for row in range(2):
        theta = torch.tensor(found.theta[row], requires_grad=True)
        value = dpo(
            score(
                policy,
                theta,
                torch.as_tensor(law.chosen),
                torch.as_tensor(law.rejected),
                torch.as_tensor(law.weights[row]),
            )
        )
        (gradient,) = torch.autograd.grad(value, theta)
        assert found.value[row] == pytest.approx(value.item(), rel=1e-13)
        assert found.gradient_norm[row] == pytest.approx(gradient.abs().max().item(), rel=1e-9)


def test_input_is_checked(population: Population) -> None:
    policy, law = Tabular(population.reference), population.pairs()
    with pytest.raises(InputError, match="tolerance"):
        fit(policy, dpo, law, tolerance=0.0)
    with pytest.raises(InputError, match="start must have shape"):
        fit(policy, dpo, law, start=np.zeros(3))
    with pytest.raises(InputError, match="beyond the 2"):
        fit(Tabular([0.5, 0.5]), dpo, law)
    for names in ([[0, 1], [0, 2]], [[0, 2], [0, 1]]):  # one response too many, in either class
        with pytest.raises(InputError, match="beyond the 2"):
            fit(Tabular([0.5, 0.5]), dpo, Law(*np.array(names), np.ones(2), np.ones(2)))
