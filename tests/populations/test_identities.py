"""The exact identities of the three data models, for win matrices of every kind."""

import numpy as np
import pytest

from distalign import InputError
from distalign.populations import (
    Law,
    Population,
    Thumbs,
    consistency_populations,
    cyclic,
    random_intransitive,
    win_matrix,
)

RNG = np.random.default_rng(11)
POPULATIONS = {
    **consistency_populations(),
    "cycle": Population(cyclic(5, 3.0), RNG.dirichlet(np.ones(5))),
    "prompts": Population(
        np.stack([random_intransitive(RNG, 4, 2.0) for _ in range(3)]),
        RNG.dirichlet(np.ones(4), 3),
        RNG.dirichlet(np.ones(3)),
    ),
}


@pytest.fixture(params=POPULATIONS.values(), ids=POPULATIONS.keys())
def population(request: pytest.FixtureRequest) -> Population:
    return request.param


def close(a: object, b: object) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_close_fails_on_a_small_difference() -> None:
    with pytest.raises(AssertionError):
        close([1.0], [1.0 + 1e-13])


def test_winner_and_loser_laws_average_to_the_reference(population: Population) -> None:
    close(population.preferred + population.dispreferred, 2 * population.reference)
    close(population.preferred.sum(-1), 1.0)
    assert population.preferred.min() >= 0


def test_marginals_of_the_pair_law(population: Population) -> None:
    s, k = population.reference.shape
    joint = population.pairs().weights.reshape(s, k, k)
    close(joint.sum(), 1.0)
    close(joint.sum((1, 2)), population.prompts)
    close(joint.sum(2), population.prompts[:, None] * population.preferred)
    close(joint.sum(1), population.prompts[:, None] * population.dispreferred)
    close(np.einsum("sii->si", joint), population.prompts[:, None] * population.reference**2)


def test_dropping_ties_keeps_the_odds(population: Population) -> None:
    s, k = population.reference.shape
    law = population.pairs(distinct=True)
    assert law.weights.size == s * k * (k - 1)
    assert (law.chosen != law.rejected).all()
    close(law.weights.sum(), 1.0)
    full = np.zeros((s * k, s * k))
    full[law.chosen, law.rejected] = law.weights
    blocks = np.stack([full[i * k : (i + 1) * k, i * k : (i + 1) * k] for i in range(s)])
    off = ~np.eye(k, dtype=bool)
    close((blocks / np.where(off, blocks + blocks.transpose(0, 2, 1), 1))[:, off], population.win[:, off])


def test_unpaired_pairs_are_thumbs_with_the_borda_score(population: Population) -> None:
    classes, thumbs = population.pairs().unpaired(), population.thumbs()
    np.testing.assert_array_equal(classes.chosen, thumbs.law().chosen)
    close(classes.weights / 2, thumbs.law().weights)
    close(classes.rejected_weights / 2, thumbs.law().rejected_weights)
    close(thumbs.priors, 0.5)
    close(population.pairs().prior, 0.5)
    close(thumbs.preferred, population.preferred)
    close(thumbs.dispreferred, population.dispreferred)


def test_thumbs_mixture_identity(population: Population) -> None:
    q = np.random.default_rng(3).random(population.reference.shape)
    thumbs = population.thumbs(q)
    t = thumbs.priors[:, None]
    close(t * thumbs.preferred + (1 - t) * thumbs.dispreferred, population.reference)
    close(t * thumbs.preferred, q * population.reference)
    close(thumbs.law().prior, thumbs.prior)
    close(thumbs.law().weights.sum() + thumbs.law().rejected_weights.sum(), 1.0)


def test_uniform_cycle_has_no_best_response() -> None:
    for k in (3, 4, 7):
        close(Population(cyclic(k, 2.0), np.full(k, 1 / k)).borda, 0.5)


def test_win_matrix_that_does_not_sum_to_one_is_rejected() -> None:
    for win in ([[0.5, 0.8], [0.3, 0.5]], [[0.4, 0.8], [0.2, 0.5]], [[0.5, 1.2], [-0.2, 0.5]]):
        with pytest.raises(InputError, match="win must hold probabilities"):
            Population(win, [0.5, 0.5])
    with pytest.raises(InputError, match="shape"):
        Population(np.full((2, 3), 0.5), [0.5, 0.5])


@pytest.mark.parametrize(
    ("reference", "prompts", "match"),
    [
        ([0.5, 0.6], None, "reference must be non-negative"),
        ([1.5, -0.5], None, "reference"),
        ([0.2, 0.3, 0.5], None, "reference has shape"),
        ([0.5, 0.5], [0.5, 0.5], "prompts has shape"),
    ],
)
def test_laws_are_checked(reference: list, prompts: list | None, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Population([[0.5, 0.8], [0.2, 0.5]], reference, prompts)


def test_thumbs_are_checked() -> None:
    for acceptance, match in (
        ([[0.0, 0.0]], "both labels"),
        ([[1.0, 1.0]], "both labels"),
        ([[1.1, 0.2]], "acceptance"),
        ([0.1, 0.2], "acceptance"),
    ):
        with pytest.raises(InputError, match=match):
            Thumbs(acceptance, [[0.5, 0.5]], [1.0])


def test_law_is_checked() -> None:
    with pytest.raises(InputError, match="rejected_weights for unpaired"):
        Law([0, 1], [1], [0.5, 0.5])
    with pytest.raises(InputError, match="weights"):
        Law([0, 1], [1, 0], [0.5, 0.25, 0.25])
    with pytest.raises(InputError, match="of at least 0"):
        Law([0, 1], [1, 0], [1.5, -0.5])
    with pytest.raises(InputError, match="leading axes"):
        Law([0, 1], [1], np.ones((3, 2)), np.ones((2, 1)))
    with pytest.raises(InputError, match="replicate axis"):
        Law([0, 1], [1, 0], [0.5, 0.5]).replicate(0)


def test_one_replicate_of_a_sample() -> None:
    pairs = consistency_populations()["tiers"].sample_pairs(500, np.random.default_rng(0), replicates=4)
    np.testing.assert_array_equal(pairs.replicate(2).weights, pairs.weights[2])
    one = pairs.unpaired().replicate(3)
    assert one.replicates is None
    np.testing.assert_array_equal(one.rejected_weights, pairs.unpaired().rejected_weights[3])


def test_bradley_terry_population_is_its_own_inverse() -> None:
    utilities = np.random.default_rng(0).normal(size=(1, 6))
    win = win_matrix(utilities, [1.0], 1.5)
    np.testing.assert_allclose(np.log(win / win.T), 1.5 * (utilities.T - utilities), atol=1e-13)
