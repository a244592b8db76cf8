"""Every sampler against its exact law, and the same check against laws that are wrong in the usual ways."""

import numpy as np
import pytest
from against_exact_law import assert_drawn_from

from distalign import InputError
from distalign.populations import BradleyTerryUsers, Population, random_intransitive


@pytest.fixture
def population() -> Population:
    rng = np.random.default_rng(5)
    win = np.stack([random_intransitive(rng, 5, sd=2.0) for _ in range(3)])
    return Population(win, rng.dirichlet(np.ones(5), size=3), [0.2, 0.5, 0.3])


def test_pairs(population: Population) -> None:
    for distinct in (False, True):
        counts = population.sample_pairs(20_000, np.random.default_rng(0), replicates=30, distinct=distinct)
        assert counts.weights.shape == (30, population.pairs(distinct=distinct).weights.size)
        assert (counts.weights.sum(-1) == 20_000).all()
        assert_drawn_from(counts.weights, population.pairs(distinct=distinct).weights)


def test_pairs_as_they_are_generated_one_by_one(population: Population) -> None:
    # the second road: two responses, a coin for the order of a tie, a Bernoulli answer
    rng, n, k = np.random.default_rng(1), 200_000, 5
    prompt = rng.choice(3, n, p=population.prompts)
    y, other = ((rng.random((n, 1)) > population.reference.cumsum(-1)[prompt]).sum(-1) for _ in range(2))
    wins = rng.random(n) < population.win[prompt, y, other]
    winner, loser = np.where(wins, y, other), np.where(wins, other, y)
    counts = np.bincount((prompt * k + winner) * k + loser, minlength=75)
    assert_drawn_from(counts[None], population.pairs().weights)


def test_check_rejects_wrong_laws_of_pairs(population: Population) -> None:
    counts = population.sample_pairs(20_000, np.random.default_rng(0), replicates=30)
    p, win = population.reference, population.win
    no_factor_two = np.einsum("s,si,sj,sij->sij", population.prompts, p, p, win + 0.5 * np.eye(5)).ravel()
    no_diagonal = population.pairs().weights * (counts.chosen != counts.rejected)
    transposed = population.pairs().weights.reshape(3, 5, 5).swapaxes(1, 2).ravel()
    for wrong in (no_factor_two, no_diagonal, transposed):
        with pytest.raises(AssertionError):
            assert_drawn_from(counts.weights, wrong)
    with pytest.raises(AssertionError, match="chi-square"):
        assert_drawn_from(np.repeat(counts.weights[:1], 3000, axis=0), population.pairs().weights + 1e-9)


def test_thumbs(population: Population) -> None:
    thumbs = population.thumbs(np.random.default_rng(7).random((3, 5)))
    counts, exact = thumbs.sample(20_000, np.random.default_rng(2), replicates=30), thumbs.law()
    drawn = np.concatenate([counts.weights, counts.rejected_weights], axis=-1)
    assert_drawn_from(drawn, np.concatenate([exact.weights, exact.rejected_weights]))
    assert abs(counts.prior.mean() - thumbs.prior) < 5 * np.sqrt(0.25 / 600_000)
    with pytest.raises(AssertionError):
        assert_drawn_from(
            drawn, np.concatenate([exact.weights / thumbs.prior, exact.rejected_weights / (1 - thumbs.prior)])
        )


def test_fixed_class_counts(population: Population) -> None:
    thumbs = population.thumbs(np.random.default_rng(7).random((3, 5)))
    counts = thumbs.sample_classes(9_000, 3_000, np.random.default_rng(3), replicates=40)
    assert (counts.weights.sum(-1) == 9_000).all()
    np.testing.assert_allclose(counts.prior, 0.75)
    assert_drawn_from(counts.weights, thumbs.law().weights)
    assert_drawn_from(counts.rejected_weights, thumbs.law().rejected_weights)
    with pytest.raises(AssertionError):
        assert_drawn_from(counts.weights, thumbs.law().rejected_weights)


def test_wins_of_users_with_one_question_each() -> None:
    users = BradleyTerryUsers([[1.0, 0.0, 0.4], [0.0, 1.0, 0.7]], [0.3, 0.7], bt_temperature=3.0)
    mu = np.array([0.5, 0.2, 0.3])
    wins = users.sample_wins(5_000, 1, mu, np.random.default_rng(4), replicates=40).reshape(40, 9)
    assert (wins.sum(-1) == 5_000).all()
    assert_drawn_from(wins, (2 * np.outer(mu, mu) * users.win).ravel())
    with pytest.raises(AssertionError):
        assert_drawn_from(wins, (np.outer(mu, mu) * (users.win + 0.5 * np.eye(3))).ravel())


def test_answers_of_one_user_are_correlated_through_the_type() -> None:
    # Var of user wins of response 0 over 1: d E[q(1-q)] + d^2 Var[q], q = 2 mu_0 mu_1 sigma of the user's
    # type
    users = BradleyTerryUsers([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], bt_temperature=4.0)
    d, n, replicates = 20, 50, 4_000
    wins = users.sample_wins(n, d, [0.5, 0.5], np.random.default_rng(6), replicates=replicates)[:, 0, 1]
    q = 0.5 / (1 + np.exp([-4.0, 4.0]))
    variance = n * (d * (q * (1 - q)).mean() + d**2 * q.var())
    assert abs(wins.mean() - n * d * q.mean()) < 5 * np.sqrt(variance / replicates)
    assert abs(wins.var() / variance - 1) < 5 * np.sqrt(2 / replicates)
    independent = n * d * q.mean() * (1 - q.mean())
    assert wins.var() > 3 * independent


def test_no_atom_of_probability_zero_is_ever_drawn() -> None:
    # numpy alone puts the rounding error of sum(p) on the last atom
    population = Population(np.full((11, 11), 0.5), np.append(np.full(10, 0.1), 0.0))
    counts = population.sample_pairs(10**15, np.random.default_rng(0), replicates=20)
    assert counts.weights[:, population.pairs().weights == 0].sum() == 0


def test_samples_are_reproducible(population: Population) -> None:
    a, b = (population.sample_pairs(100, np.random.default_rng(9), replicates=3).weights for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_sizes_are_checked(population: Population) -> None:
    rng = np.random.default_rng(0)
    for n in (-1, 2.5):
        with pytest.raises(InputError, match="n must be an integer"):
            population.sample_pairs(n, rng)
    with pytest.raises(InputError, match="replicates"):
        population.sample_pairs(10, rng, replicates=0)
    with pytest.raises(InputError, match="one prompt"):
        BradleyTerryUsers(np.zeros((1, 2, 3)), [1.0], 1.0).sample_wins(1, 1, np.full(3, 1 / 3), rng)
    users = BradleyTerryUsers(np.zeros((1, 3)), [1.0], 1.0)
    for users_, comparisons, name in ((0, 1, "users"), (1, 0, "comparisons")):
        with pytest.raises(InputError, match=name):
            users.sample_wins(users_, comparisons, np.full(3, 1 / 3), rng)
