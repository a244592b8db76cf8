"""Where the fit must not claim a minimum, and what it says instead."""

from collections.abc import Callable

import numpy as np
import pytest
from small_losses import ddro, dpo, rdro, sft
from torch import Tensor

from distalign import PreferenceLogProbs
from distalign.policies import Tabular
from distalign.populations import Law, Population, consistency_populations, random_intransitive
from distalign.simulation.autograd_newton import Problem
from distalign.simulation.fit import fit


@pytest.fixture(scope="module")
def population() -> Population:
    rng = np.random.default_rng(3)
    win = np.stack([random_intransitive(rng, 5, sd=1.0) for _ in range(2)])
    return Population(win, rng.dirichlet(np.full(5, 5.0), size=2), [0.4, 0.6])


def test_minimum_at_infinity_is_not_converged() -> None:
    # replicate 0 is one-sided: the loss falls for ever; replicate 1 is not
    law = Law([0, 1], [1, 0], [[5.0, 0.0], [5.0, 2.0]])
    found = fit(Tabular([0.5, 0.5]), dpo, law)
    assert found.converged.tolist() == [False, True]
    assert found.settled.tolist() == [True, True]
    assert found.gradient_norm[0] < 1e-10 < 0.1 < found.newton_norm[0] * 1e3
    np.testing.assert_allclose(found.probs[:, 0, 0], [1.0, 5 / 7], atol=1e-9)


def test_response_never_chosen_leaves_a_settled_policy(population: Population) -> None:
    law = population.thumbs().sample(30, np.random.default_rng(0), replicates=300)
    counts = law.weights.reshape(300, 2, 5)
    some_prompt_empty = (counts.sum(-1) == 0).any(-1)
    found = fit(Tabular(population.reference), sft, law)
    np.testing.assert_array_equal(
        found.converged[~some_prompt_empty], (counts > 0).all((1, 2))[~some_prompt_empty]
    )
    assert 0 < found.converged.sum() < 300
    assert found.settled.all()
    empirical = counts[~some_prompt_empty] / counts[~some_prompt_empty].sum(-1, keepdims=True)
    np.testing.assert_allclose(found.probs[~some_prompt_empty], empirical, atol=1e-9)


def test_prompt_without_data_keeps_the_reference(population: Population) -> None:
    law = Law([0, 1, 2, 3, 4], [0], np.ones(5), [1.0])
    found = fit(Tabular(population.reference), sft, law)
    assert found.converged
    assert found.curvature == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.probs, [np.full(5, 0.2), population.reference[1]], atol=1e-9)


def test_empty_class_is_not_converged() -> None:
    law = Law([0, 1], [0, 1], [[0.0, 0.0], [3.0, 2.0]], [[1.0, 1.0], [2.0, 3.0]])
    found = fit(Tabular([0.5, 0.5]), rdro, law)
    assert found.converged.tolist() == [False, True]
    assert found.settled.tolist() == [False, True]
    assert np.isnan(found.value[0])
    assert not fit(Tabular([0.5, 0.5]), rdro, law.replicate(0)).converged


def test_steps_outside_the_domain_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def watched(problem: Problem, z: Tensor, rows: Tensor, values: Callable = Problem.values) -> Tensor:
        tried.append(values(problem, z, rows))
        return tried[-1]

    monkeypatch.setattr(Problem, "values", watched)
    population = consistency_populations()["intransitive"]
    start = np.where(np.arange(10) == population.borda[0].argmax(), -4.0, 0.0)
    found = fit(Tabular(population.reference), ddro, population.pairs().unpaired(), start=start)
    assert any(value.isnan().any() for value in tried)
    assert found.converged
    np.testing.assert_allclose(found.probs, population.preferred, atol=1e-9)


def test_saturated_loss_is_not_a_minimum() -> None:
    # gradient and curvature vanish together far out; only their ratio, the Newton step, tells that the loss
    # still falls
    def bounded(batch: PreferenceLogProbs) -> Tensor:
        return (batch.rejected_ratio - batch.chosen_ratio).sigmoid().sum()

    found = fit(Tabular([0.5, 0.5]), bounded, Law([0], [1], [1.0]), start=[40.0, -40.0])
    assert found.gradient_norm < 1e-30
    assert not found.converged


def test_maximum_is_not_a_minimum() -> None:
    def hill(batch: PreferenceLogProbs) -> Tensor:
        return -(batch.chosen_frequencies * batch.chosen_ratio.square()).sum()

    found = fit(Tabular([0.5, 0.5]), hill, Law([0, 1], [1, 0], [1.0, 1.0]))
    assert found.gradient_norm == 0
    assert found.curvature < 0
    assert not found.converged
    assert not found.settled


def test_kink_is_reported_as_not_converged() -> None:
    def absolute(batch: PreferenceLogProbs) -> Tensor:
        return (batch.chosen_frequencies * (batch.chosen_ratio - batch.rejected_ratio).abs()).sum()

    found = fit(Tabular([0.5, 0.5]), absolute, Law([0], [1], [1.0]), start=[0.3, -0.4])
    assert not found.converged
    assert found.value < 1e-3


def test_too_few_iterations_are_reported(population: Population) -> None:
    law = population.sample_pairs(2_000, np.random.default_rng(2), replicates=5)
    found = fit(Tabular(population.reference), dpo, law, max_iterations=1)
    assert found.iterations == 1
    assert not found.converged.any()
    assert not found.settled.any()
    assert (found.gradient_norm > 1e-10).all()
