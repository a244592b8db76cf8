"""Closed forms of simple rules and of sampling error, each against a computation that knows nothing of
them.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.crowds import common_second
from distalign.populations.plackett_luce import ranking_law
from distalign.theory.distortion.rules import dictator_distortion, plurality_distortion, tied_distortion
from distalign.theory.distortion.samples import answer_covariance, saturation, win_error


def first_choices(users):
    rankings, law = ranking_law(users)
    return np.array([law[rankings[:, 0] == x].sum() for x in range(rankings.shape[1])])


@pytest.mark.parametrize("b", [0.5, 2.0, 6.0, 15.0])
@pytest.mark.parametrize("utility", [0.35, 0.5, 0.8])
def test_rules_of_first_choices_by_enumeration(b, utility):
    users = common_second(b, 6, utility)
    first, u = first_choices(users), users.average_utility
    assert dictator_distortion(b, 6, utility) == pytest.approx(u.max() / (first @ u), rel=1e-12)
    elected = np.isclose(first, first.max(), rtol=1e-12)
    assert plurality_distortion(b, 6, utility) == pytest.approx(u.max() / u[elected].mean(), rel=1e-12)


def test_the_order_of_the_worst_case():
    m = np.array([10, 100, 1000])
    np.testing.assert_allclose(dictator_distortion(60.0, m) / m, 0.5, rtol=0.15)  # grows like m / 2
    assert (plurality_distortion(12.0, [100, 500]) > [49, 1]).tolist() == [
        True,
        False,
    ]  # until m - 1 passes e^{b/2}


def test_an_even_lottery_of_two():
    assert tied_distortion(5.0) == pytest.approx(1 / ((1 + 1 / 5) / 2))


@pytest.mark.parametrize("one_ranking", [False, True])
def test_error_of_a_win_share_by_simulation(one_ranking):
    """Users drawn one by one, in the plainest way: their answers to one pair, the share won, its standard
    deviation.
    """
    rng, n, d, q, replicates = np.random.default_rng(0), 2_000, 6, 0.3, 400
    by_type, weights = np.array([0.9, 0.4, 0.1]), np.array([0.5, 0.3, 0.2])
    p = weights @ by_type
    errors = []
    for _ in range(replicates):
        prefers = by_type[rng.choice(3, n, p=weights)]
        asked = rng.random((n, d)) < q
        answers = (rng.random(n) < prefers)[:, None] if one_ranking else rng.random((n, d)) < prefers[:, None]
        errors.append((asked & answers).sum() / asked.sum() - p)
    rho = answer_covariance(by_type, weights, one_ranking=one_ranking)
    assert np.std(errors) == pytest.approx(float(win_error(n, d, q, p, rho)), rel=0.12)
    assert np.std(errors) > 1.2 * win_error(n * d, 1, q, p, rho)  # and not what n d users would give


def test_law_of_error_is_within_the_papers_order():
    """n Var <= (3/8) / min(1, d mu_min^2), and at least p(1 - p)/2 of it for rankings."""
    d = np.logspace(0, 5, 40)
    for smallest in (0.25, 0.05):
        for p in (0.1, 0.5):
            squares = win_error(1, d, 2 * smallest**2, p, p * (1 - p)) ** 2
            order = 1 / np.minimum(1, d * smallest**2)
            assert (squares <= 0.375 * order * (1 + 1e-12)).all()
            assert (squares >= p * (1 - p) / 2 * order * (1 - 1e-12)).all()


def test_saturation_is_where_the_parts_are_equal():
    q, p, rho = 0.02, 0.3, 0.1
    d = saturation(q, p, rho)
    limit = win_error(1, 1e12, q, p, rho) ** 2
    assert win_error(1, d, q, p, rho) ** 2 == pytest.approx(2 * limit, rel=1e-9)


def test_bad_input():
    for arguments, name in (
        ((0, 1, 0.5), "users"),
        ((1, 0, 0.5), "comparisons"),
        ((1, 1, 0.0), "share"),
        ((1, 1, 1.5), "share"),
    ):
        with pytest.raises(InputError, match=f"{name} must be"):
            win_error(*arguments, 0.5, 0.1)


def test_average_utility_of_the_family():
    users = common_second(3.0, 8, 0.6)
    assert isinstance(users, BradleyTerryUsers)
    np.testing.assert_allclose(users.average_utility, [0.6] + [1 / 7] * 7)
    with pytest.raises(InputError, match="alternatives"):
        common_second(3.0, 2)
    with pytest.raises(InputError, match="utility"):
        common_second(3.0, 4, 1.0)
