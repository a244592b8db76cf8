"""Regularised NLHF: against a cone program, against the constrained form, its certificate, and both linear
solvers.
"""

import numpy as np
import pytest
from scipy.special import logsumexp

from distalign.checks import InputError
from distalign.oracles import games as oracle
from distalign.populations import BradleyTerryUsers, random_intransitive
from distalign.populations.worst_cases import universal_worst_case
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.solvers.choice import regularised_games
from distalign.solvers.choice.games import (
    exploitability,
    kl_nlhf,
    maximal_lottery,
    regularised_gain,
    regularised_nlhf,
)
from distalign.solvers.choice.kl_linear import distortion
from distalign.theory.distortion.constants import minimax_distortion


def game(seed, size, spread=1.0):
    """An intransitive win matrix and a reference."""
    rng = np.random.default_rng(seed)
    log_reference = spread * rng.standard_normal(size)
    return random_intransitive(rng, size, 1.5), log_reference - logsumexp(log_reference)


def stress(count, seed, largest=12):
    """Failed certificates, and the worst distortion in units of the theorem's bound, over random problems."""
    rng, failed, worst = np.random.default_rng(seed), 0, 0.0
    for _ in range(count):
        temperature = float(np.exp(rng.uniform(np.log(0.4), np.log(55))))
        p = random_problem(rng, universal_worst_case(temperature), largest)
        found = kl_nlhf(p.users.win, p.log_reference, p.kl_budget)
        failed += not found.certified
        if found.certified:
            reached = distortion(p.users.average_utility, found.policy, p.log_reference, p.kl_budget)
            worst = max(worst, reached / minimax_distortion(temperature))
    return failed, worst


@pytest.mark.parametrize(("count", "largest"), [(100, 12), (8, 400)])
def test_no_certificate_fails_and_no_distortion_exceeds_the_bound(count, largest):
    failed, worst = stress(count, 0, largest)
    assert failed == 0
    assert worst <= 1 + 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(("count", "largest"), [(1500, 12), (100, 500)])
def test_no_certificate_fails_on_many_problems(count, largest):
    failed, worst = stress(count, 1, largest)
    assert failed == 0
    assert 0.9 < worst <= 1 + 1e-8  # the bound is nearly reached: the problems are hard enough


@pytest.mark.parametrize(
    ("seed", "size", "strength"), [(0, 2, 0.3), (1, 5, 0.05), (2, 12, 0.5), (3, 8, 3.0), (4, 20, 20.0)]
)
def test_agrees_with_the_cone_program(seed, size, strength):
    win, q = game(seed, size)
    found = regularised_nlhf(win, q, strength)
    assert found.certified
    np.testing.assert_allclose(found.policy, oracle.regularised_nlhf(win, np.exp(q), strength), atol=1e-4)


@pytest.mark.parametrize(
    ("seed", "size", "strength"), [(0, 3, 0.3), (1, 8, 0.05), (2, 40, 1.0), (3, 200, 0.1)]
)
def test_the_constrained_form_with_the_same_kl_has_the_same_solution(seed, size, strength):
    win, q = game(seed, size)
    found = regularised_nlhf(win, q, strength)
    constrained = kl_nlhf(win, q, found.kl(q))
    assert found.certified
    assert constrained.certified
    np.testing.assert_allclose(constrained.policy, found.policy, atol=1e-8)
    assert exploitability(win, found.log_policy, q, found.kl(q) * (1 + 1e-12)) <= 1e-9


def test_kl_does_not_increase_with_the_strength_and_goes_from_the_lottery_to_the_reference():
    win, q = game(5, 9)
    spent = [regularised_nlhf(win, q, strength).kl(q) for strength in 10.0 ** np.arange(-6, 7)]
    assert (np.diff(spent) <= 1e-12).all()
    assert spent[0] == pytest.approx(maximal_lottery(win).kl(q), abs=1e-4)
    assert spent[-1] == pytest.approx(0, abs=1e-10)


def test_the_certificate_is_the_gain_of_the_best_reply_and_sees_another_strength():
    win, q = game(6, 7)
    margins, p = win - win.T, np.exp(regularised_nlhf(win, q, 0.2).log_policy)
    wrong = regularised_nlhf(win, q, 0.1).log_policy
    best = np.exp(q + margins @ np.exp(wrong) / 0.2)
    best /= best.sum()

    def payoff(mine, theirs):
        return mine @ margins @ theirs - 0.2 * mine @ (np.log(mine) - q) + 0.2 * theirs @ (np.log(theirs) - q)

    assert regularised_gain(win, wrong, q, 0.2) == pytest.approx(payoff(best, np.exp(wrong)), rel=1e-9)
    assert regularised_gain(win, wrong, q, 0.2) > 1e-3
    assert max(payoff(np.roll(best, k), p) for k in range(7)) < 0


def test_strong_and_weak_games_with_references_down_to_1e8():
    rng = np.random.default_rng(7)
    for _ in range(60):
        p = random_problem(rng, universal_worst_case(float(np.exp(rng.uniform(-1, 4)))))
        assert regularised_nlhf(p.users.win, p.log_reference, float(np.exp(rng.uniform(-9, 3)))).certified
    users = BradleyTerryUsers([[0, 1, 0], [1 / 6, 0, 1]], [0.02, 0.98], 6.0)
    for rare in (-1e3, -1e5, -1e8):
        q = np.array([-np.log(2), -np.log(2), rare])
        assert all(regularised_nlhf(users.win, q, strength).certified for strength in (1e-6, 1e-3, 1.0))


@pytest.mark.parametrize("budget", [0.05, 0.5])
def test_solving_without_a_matrix_gives_the_same_policy(budget, monkeypatch):
    users = BradleyTerryUsers(np.random.default_rng(8).random((20, 200)), np.full(20, 0.05), 10.0)
    q = np.full(200, -np.log(200))
    krylov = kl_nlhf(users.win, q, budget)
    monkeypatch.setattr(regularised_games, "_DENSE", 1000)
    dense = kl_nlhf(users.win, q, budget)
    assert krylov.certified
    assert dense.certified
    np.testing.assert_allclose(krylov.policy, dense.policy, atol=1e-12)


def test_where_gmres_stalls_a_factorisation_takes_over(monkeypatch):
    """With every GMRES said to stall the answer is the same."""
    win, q = game(9, 160)
    monkeypatch.setattr(regularised_games, "gmres", lambda operator, right, **options: (right, 1))
    assert kl_nlhf(win, q, 0.3).certified


def test_games_without_a_decision_and_of_one_alternative():
    q = np.log([0.2, 0.3, 0.5])
    np.testing.assert_allclose(regularised_nlhf(np.full((3, 3), 0.5), q, 1.0).policy, np.exp(q))
    assert regularised_nlhf([[0.5]], [0.0], 1.0).policy.tolist() == [1.0]
    assert kl_nlhf([[0.5]], [0.0], 1.0).policy.tolist() == [1.0]


@pytest.mark.parametrize("strength", [0.0, -1.0, np.inf, np.nan])
def test_strengths_that_are_none_are_refused(strength):
    with pytest.raises(InputError, match="strength"):
        regularised_nlhf([[0.5, 0.75], [0.25, 0.5]], np.log([0.5, 0.5]), strength)
