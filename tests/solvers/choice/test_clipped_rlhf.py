"""Clipped RLHF: its floor by another road, its limits, and the family on which it is needed."""

import numpy as np
import pytest
from scipy.special import expit

from distalign.checks import InputError
from distalign.populations.worst_cases import universal_worst_case
from distalign.populations.worst_cases_kl import exponential_worst_case
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.solvers.choice.clipped_rlhf import clip_floor, clipped_rlhf
from distalign.solvers.choice.kl_linear import distortion, kl_linear_maximisation
from distalign.solvers.choice.reward import reward_mle, rlhf


@pytest.mark.parametrize(
    ("b", "clipped", "unclipped"), [(4, 1.154, 1.365), (8, 1.948, 37.26), (12, 1.999, 1356.3)]
)
@pytest.mark.parametrize("quantile", [0.3, 0.45, 0.5])
def test_golden_values_on_the_exponential_family(b, clipped, unclipped, quantile):
    case = exponential_worst_case(b)
    arguments = case.users.win, case.comparison, case.log_reference, case.kl_budget
    found, plain = clipped_rlhf(*arguments, quantile=quantile), rlhf(*arguments)
    assert found.certified
    assert plain.certified
    for policy, expected in ((found.policy, clipped), (plain.policy, unclipped)):
        measured = distortion(case.users.average_utility, policy, case.log_reference, case.kl_budget)
        assert measured == pytest.approx(expected, rel=5e-4)


def test_floor_solves_its_equation_and_follows_shifts():
    rng = np.random.default_rng(0)
    for _ in range(20):
        r, mu, quantile = 30 * rng.standard_normal(6), rng.dirichlet(np.full(6, 0.3)), rng.uniform(0.02, 0.98)
        floor = clip_floor(r, mu, quantile)
        assert mu @ expit(floor - r) == pytest.approx(quantile, abs=1e-11)
        assert clip_floor(r + 7, 3 * mu, quantile) == pytest.approx(floor + 7, abs=1e-9)
        grid = np.linspace(
            floor - 1, floor + 1, 2001
        )  # the second road: where the increasing function crosses
        crossing = grid[np.searchsorted((mu * expit(grid[:, None] - r)).sum(1), quantile)]
        assert abs(crossing - floor) <= 2e-3
    assert clip_floor([1.5, 1.5], [0.2, 0.8], 0.5) == pytest.approx(1.5, abs=1e-9)  # all rewards equal


def test_a_wide_window_is_plain_rlhf():
    rng = np.random.default_rng(1)
    for _ in range(20):
        p = random_problem(rng, universal_worst_case(float(np.exp(rng.uniform(np.log(0.1), np.log(20))))))
        arguments = p.users.win, p.comparison, p.log_reference, p.kl_budget
        plain = rlhf(*arguments)
        if plain.certified and np.ptp(reward_mle(*arguments[:2]).reward) < 600:
            wide = clipped_rlhf(*arguments, quantile=1e-300, window=np.inf)
            np.testing.assert_allclose(wide.policy, plain.policy, atol=1e-9)


def test_a_narrow_window_is_a_threshold():
    win, mu, q = [[0.5, 0.7, 0.9], [0.3, 0.5, 0.8], [0.1, 0.2, 0.5]], [0.3, 0.4, 0.3], np.log([0.2, 0.3, 0.5])
    fit = reward_mle(win, mu).reward
    above = fit >= clip_floor(fit, mu, 0.45)
    found = clipped_rlhf(win, mu, q, np.inf, window=1e-9)
    np.testing.assert_allclose(found.policy, np.exp(q) * above / np.exp(q)[above].sum(), atol=1e-9)


def test_bad_input():
    win, mu, q = [[0.5, 0.7], [0.3, 0.5]], [0.5, 0.5], np.log([0.5, 0.5])
    with pytest.raises(InputError, match="quantile"):
        clipped_rlhf(win, mu, q, 1.0, quantile=1.0)
    with pytest.raises(InputError, match="window"):
        clipped_rlhf(win, mu, q, 1.0, window=0.0)
    with pytest.raises(InputError, match="clip averages over mu"):
        clipped_rlhf(win, np.outer(mu, mu), q, 1.0)
    with pytest.raises(InputError, match="unconnected"):
        clipped_rlhf(win, [1.0, 0.0], q, 1.0)
    with pytest.raises(InputError, match="kl_budget"):
        clipped_rlhf(win, mu, q, -1.0)


def test_a_fit_that_did_not_converge_gives_no_certificate():
    certain = 0.5 + 0.5 * np.array([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])
    assert not clipped_rlhf(certain, np.full(3, 1 / 3), np.log(np.full(3, 1 / 3)), 1.0).certified


def test_the_window_is_three_eighths_of_a_logit_above_the_floor():
    """One reward lies inside the window as it is, one a quarter of a logit above it is cut."""
    reward = np.array([0.0, 0.25, 0.5, -1.0])
    win, mu, q = expit(reward[:, None] - reward), np.full(4, 0.25), np.log(np.full(4, 0.25))
    fit = reward_mle(win, mu).reward
    floor = clip_floor(fit, mu, 0.45)
    by_hand = kl_linear_maximisation(np.minimum(np.maximum(fit, floor), floor + 3 / 8), q, 0.1)
    found = clipped_rlhf(win, mu, q, 0.1).policy
    np.testing.assert_allclose(found, by_hand.policy, atol=1e-12)
    assert fit.min() < floor < fit[0] < floor + 3 / 8 < fit[1]
    assert abs(clipped_rlhf(win, mu, q, 0.1, window=0.75).policy - found).max() > 1e-3
