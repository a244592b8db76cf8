"""The fast win matrix against the definition, and the families of win matrices against theirs."""

import numpy as np
import pytest
from scipy.special import expit

from distalign import InputError
from distalign.populations import (
    BradleyTerryUsers,
    Population,
    at_angle,
    bradley_terry,
    cyclic,
    log_linear_bradley_terry,
    mixture,
    mixture_shift,
    random_intransitive,
    reward_shift,
    rock_paper_scissors,
    win_matrix,
)


def direct(utilities: np.ndarray, weights: np.ndarray, bt_temperature: float) -> np.ndarray:
    return np.tensordot(
        weights, expit(bt_temperature * (utilities[..., :, None] - utilities[..., None, :])), axes=1
    )


@pytest.mark.parametrize("shape", [(1, 2), (3, 5), (200, 40), (3, 300), (2, 4, 7), (50, 3, 200), (5000, 3)])
@pytest.mark.parametrize("bt_temperature", [0.3, 20.0, 500.0, 1e5])
def test_fast_is_direct(shape: tuple[int, ...], bt_temperature: float) -> None:
    rng = np.random.default_rng(0)
    utilities, weights = rng.random(shape), rng.dirichlet(np.ones(shape[0]))
    fast = win_matrix(utilities, weights, bt_temperature)
    rounding_of_logits = 4e-16 * bt_temperature
    np.testing.assert_allclose(
        fast, direct(utilities, weights, bt_temperature), rtol=0, atol=2e-13 + rounding_of_logits
    )
    np.testing.assert_allclose(fast + fast.swapaxes(-1, -2), 1.0, rtol=0, atol=1e-13)


def test_small_probabilities_keep_their_digits() -> None:
    assert win_matrix([[0.0, 1.0]], [1.0], 500.0)[0, 1] == pytest.approx(np.exp(-500.0), rel=1e-12, abs=0)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ranges", [(200.0,), (30.0, 290.0), (250.0, 500.0, 250.0)])
def test_small_probabilities_keep_their_digits_on_both_sides_of_the_diagonal(
    order: int, ranges: tuple[float, ...]
) -> None:
    """All types agree, so half of the matrix is tiny: above the diagonal, below it, in several tiles."""
    utilities = np.multiply.outer(ranges, np.linspace(0, 1, 450)[::order])
    weights = np.full(len(ranges), 1 / len(ranges))
    fast, exact = win_matrix(utilities, weights, 1.0), direct(utilities, weights, 1.0)
    np.testing.assert_allclose(fast, exact, rtol=1e-12, atol=1e-290)
    np.testing.assert_allclose(fast + fast.T, 1.0, rtol=0, atol=1e-14)


def test_many_types_are_treated_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bradley_terry, "_BLOCK", 100)
    rng = np.random.default_rng(2)
    for shape in ((31, 9), (7, 3, 4), (3, 250), (1, 5)):
        utilities, weights = 9 * rng.standard_normal(shape), rng.dirichlet(np.ones(shape[0]))
        utilities[0] *= 40  # the first type takes the logistic function
        np.testing.assert_allclose(
            win_matrix(utilities, weights, 2.0), direct(utilities, weights, 2.0), rtol=0, atol=1e-12
        )


def test_win_matrix_checks_its_input() -> None:
    for utilities, weights, temperature, match in (
        ([[0.0, np.nan]], [1.0], 1.0, "utilities"),
        ([0.0, 1.0], [1.0], 1.0, "utilities"),
        ([[0.0, 1.0]], [0.9], 1.0, "weights"),
        ([[0.0, 1.0]], [1.0], 0.0, "bt_temperature"),
    ):
        with pytest.raises(InputError, match=match):
            win_matrix(utilities, weights, temperature)
        with pytest.raises(InputError, match=match):
            BradleyTerryUsers(utilities, weights, temperature)


def test_population_of_users_with_prompts() -> None:
    rng = np.random.default_rng(1)
    users = BradleyTerryUsers(rng.random((4, 3, 5)), rng.dirichlet(np.ones(4)), 2.0)
    population = users.population(rng.dirichlet(np.ones(5), size=3), [0.2, 0.3, 0.5])
    np.testing.assert_allclose(population.win, direct(users.utilities, users.weights, 2.0), atol=1e-14)
    np.testing.assert_allclose(users.average_utility, (users.weights[:, None, None] * users.utilities).sum(0))


def test_cycle_beats_the_next_half() -> None:
    win = cyclic(4, 1.0)
    np.testing.assert_allclose(win[0], [0.5, expit(1), 0.5, expit(-1)])
    np.testing.assert_allclose(win, np.roll(win, (1, 1), axis=(0, 1)))


def test_tiers_dominate_and_cycle() -> None:
    win = rock_paper_scissors(3, within=4.0, between=3.0)
    assert win.shape == (9, 9)
    assert (win[:3, 3:] == expit(3.0)).all()
    assert win[3, 4] == win[4, 5] == win[5, 3] == expit(4.0)


@pytest.mark.parametrize(
    "win", [cyclic(6, 2.0), rock_paper_scissors(4), random_intransitive(np.random.default_rng(0), 9, 8)]
)
def test_general_win_matrices_are_win_matrices(win: np.ndarray) -> None:
    Population(win, np.full(len(win), 1 / len(win)))
    np.testing.assert_array_equal(np.diag(win), 0.5)


def test_random_log_odds_have_the_stated_spread() -> None:
    win = random_intransitive(np.random.default_rng(0), 100, sd=2.0)
    odds = np.log(win / win.T)[np.triu_indices(100, 1)]
    assert abs(odds.std() - 2.0) < 5 * 2.0 / np.sqrt(2 * odds.size)


def test_mixture_averages_win_matrices_and_is_not_bradley_terry() -> None:
    reference = np.full(3, 1 / 3)
    a, b = (Population(win_matrix([u], [1.0], 4.0), reference) for u in ([2.0, 1.0, 0.0], [0.0, 2.0, 1.0]))
    mixed = mixture([0.5, 0.5], [a, b])
    np.testing.assert_allclose(mixed.win, (a.win + b.win) / 2)
    odds = np.log(mixed.win / mixed.win.swapaxes(1, 2))[0]
    assert abs(odds[0, 1] + odds[1, 2] - odds[0, 2]) > 1
    for share, end in ((0.0, a), (1.0, b)):
        np.testing.assert_array_equal(mixture_shift(a, b, share).win, end.win)


def test_mixture_asks_everybody_the_same() -> None:
    a, b = Population(cyclic(3, 1.0), [0.2, 0.3, 0.5]), Population(cyclic(3, 1.0), [0.5, 0.3, 0.2])
    with pytest.raises(InputError, match="share reference"):
        mixture([0.5, 0.5], [a, b])
    with pytest.raises(InputError, match="weights"):
        mixture([0.5, 0.6], [a, a])
    with pytest.raises(InputError, match="empty"):
        mixture([], [])
    with pytest.raises(InputError, match="share must be"):
        mixture_shift(a, a, 1.5)


def test_log_linear_instance_is_as_described() -> None:
    instance = log_linear_bradley_terry(np.random.default_rng(0), 30, 40, 5, norm=2.5, beta=0.7)
    norms = np.linalg.norm(instance.features, axis=-1)
    assert 0.5 <= norms.min() < 0.51
    assert 0.99 < norms.max() <= 1
    reward = 0.7 * instance.features @ instance.theta_star
    np.testing.assert_allclose(
        instance.population.win, expit(reward[:, :, None] - reward[:, None, :]), atol=1e-14
    )
    with pytest.raises(InputError, match="dimension"):
        log_linear_bradley_terry(np.random.default_rng(0), 2, 3, 0, norm=1.0, beta=1.0)


def test_reward_shift_moves_the_parameter_and_nothing_else() -> None:
    start = log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 5, norm=4.0, beta=1.0)
    end = at_angle(start.theta_star, 120.0, np.random.default_rng(1))
    assert start.theta_star @ end == pytest.approx(-8.0)
    half = reward_shift(start, end, 0.5)
    np.testing.assert_allclose(half.theta_star, (start.theta_star + end) / 2)
    np.testing.assert_array_equal(half.population.reference, start.population.reference)
    np.testing.assert_array_equal(reward_shift(start, end, 0.0).population.win, start.population.win)
    with pytest.raises(InputError, match="theta_end has shape"):
        reward_shift(start, np.zeros(1), 1.0)
    with pytest.raises(InputError, match="columns"):
        start.with_parameter(np.zeros(1))
