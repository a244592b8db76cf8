"""Maximal lotteries and KL-constrained NLHF: against linear and conic programs, their certificates, and the
theorem.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from distalign.checks import InputError
from distalign.oracles import games as oracle
from distalign.populations import BradleyTerryUsers, random_intransitive
from distalign.populations.worst_cases import borda_worst_case, universal_worst_case
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.solvers.choice.games import TIES, exploitability, kl_nlhf, maximal_lottery
from distalign.solvers.choice.kl_linear import distortion, kl_linear_maximisation
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import minimax_distortion


def problem(rng, scale=None):
    """A random problem at a random temperature; `scale` fixes the spread of the reference instead."""
    p = random_problem(rng, universal_worst_case(float(np.exp(rng.uniform(np.log(0.1), np.log(50))))))
    if scale is None:
        return p
    log_reference = scale * rng.standard_normal(len(p.comparison))
    return replace(p, log_reference=log_reference - logsumexp(log_reference))


def random_win(seed, size):
    noise = np.tanh(np.random.default_rng(seed).standard_normal((size, size)))
    return (1 + (noise - noise.T) / 2) / 2


@pytest.mark.parametrize(("seed", "size"), [(0, 2), (1, 5), (2, 15), (3, 40)])
def test_lottery_agrees_with_the_linear_program(seed, size):
    win = random_win(seed, size)
    lottery, value = oracle.maximal_lottery(win)
    found = maximal_lottery(win)
    assert found.certified
    assert abs(value) < 1e-9
    np.testing.assert_allclose(found.policy, lottery, atol=1e-7)  # generic games have one maximal lottery


@pytest.mark.parametrize("ties", TIES)
def test_every_tie_rule_is_certified_and_unbeaten(ties):
    rng = np.random.default_rng(4)
    for _ in range(30):
        p = problem(rng)
        found = maximal_lottery(p.users.win, ties, p.users.average_utility)
        assert found.certified
        assert ((2 * p.users.win - 1) @ found.policy).max() <= 1e-8


def test_tie_rules_where_the_lottery_is_not_unique():
    """On family F2 alternatives 0 and 1 tie: every lottery with little enough of 1 to resist 2 is maximal."""
    case = borda_worst_case(10.0)
    win, u, q = case.users.win, case.users.average_utility, np.full(3, -np.log(3))
    values = {ties: distortion(u, maximal_lottery(win, ties, u).policy, q, np.inf) for ties in TIES}
    assert values["any"] == 1
    assert values["uniform"] == pytest.approx(2 * u[0] / (u[0] + u[1]), rel=1e-6)
    assert values["adversarial"] == pytest.approx(1.60, abs=0.01)
    assert max(values.values()) <= minimax_distortion(10.0)
    np.testing.assert_allclose(maximal_lottery(np.full((4, 4), 0.5), "uniform").policy, 0.25, atol=1e-12)


def test_rock_paper_scissors_and_the_adversary_without_utilities():
    win = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    np.testing.assert_allclose(maximal_lottery(win).policy, 1 / 3, atol=1e-9)
    with pytest.raises(InputError, match="avg_utility"):
        maximal_lottery(win, "adversarial")
    with pytest.raises(InputError, match="ties"):
        maximal_lottery(win, "first")


@pytest.mark.parametrize(
    ("seed", "size", "budget"), [(0, 3, 0.05), (1, 6, 0.5), (2, 10, 1.0), (3, 6, 3.0), (4, 12, 0.2)]
)
def test_nlhf_agrees_with_the_cone_program(seed, size, budget):
    win = random_win(seed, size)
    log_reference = np.random.default_rng(seed).standard_normal(size)
    log_reference -= logsumexp(log_reference)
    found = kl_nlhf(win, log_reference, budget)
    assert found.certified
    np.testing.assert_allclose(found.policy, oracle.kl_nlhf(win, np.exp(log_reference), budget), atol=2e-4)


def test_nlhf_is_certified_and_never_exceeds_the_theorem():
    rng, worst = np.random.default_rng(5), 0.0
    for _ in range(150):
        p = problem(rng)
        found = kl_nlhf(p.users.win, p.log_reference, p.kl_budget)
        assert found.certified
        assert found.kl(p.log_reference) <= p.kl_budget * (1 + 1e-9)
        bound = minimax_distortion(p.users.bt_temperature)
        worst = max(
            worst, distortion(p.users.average_utility, found.policy, p.log_reference, p.kl_budget) / bound
        )
    assert worst <= 1 + 1e-8


def test_exploitability_is_the_gain_of_the_best_opponent_and_sees_a_wrong_policy():
    p = problem(np.random.default_rng(6), scale=1.0)
    win, q = p.users.win, p.log_reference
    answer = kl_linear_maximisation((2 * win - 1) @ np.exp(q), q, 0.3).policy
    assert exploitability(win, q, q, 0.3) == pytest.approx(answer @ (2 * win - 1) @ np.exp(q), rel=1e-6)
    assert exploitability(win, q, q, 0.3) > 1e-3
    assert exploitability(win, kl_nlhf(win, q, 0.3).log_policy, q, 0.3) < 1e-8
    assert exploitability(win, kl_nlhf(win, q, 0.6).log_policy, q, 0.3) == np.inf  # outside the ball


def test_exploitability_bounds_the_loss_of_utility():
    """AvgUtil(p) >= AvgUtil(best)/C - 2 e/b for every policy p in the ball, however bad."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        p = problem(rng, scale=1.0)
        u, b, q = p.users.average_utility, p.users.bt_temperature, p.log_reference
        bad = kl_linear_maximisation(rng.standard_normal(len(q)), q, p.kl_budget)
        best = u @ kl_linear_maximisation(u, q, p.kl_budget).policy
        gain = exploitability(p.users.win, bad.log_policy, q, p.kl_budget)
        assert u @ bad.policy >= best / minimax_distortion(b) - 2 * gain / b - 1e-9


def test_nlhf_spends_the_budget_until_the_lottery_is_inside_the_ball():
    win, q = random_win(7, 6), np.full(6, -np.log(6))
    lottery = maximal_lottery(win)
    spent = [kl_nlhf(win, q, budget).kl(q) for budget in (0.01, 0.1, 0.5, 5.0, np.inf)]
    assert spent[:2] == pytest.approx([0.01, 0.1], rel=1e-6)
    assert spent[-1] == pytest.approx(lottery.kl(q), abs=1e-6)
    np.testing.assert_allclose(kl_nlhf(win, q, 5.0).policy, lottery.policy, atol=1e-6)
    assert kl_nlhf(win, q, 0.0).kl(q) == pytest.approx(0, abs=1e-12)


def test_small_margins_are_solved_to_scale():
    """On family F1 every margin is below 1e-5, and yet the special alternative must get nothing."""
    case = universal_worst_case(5.0)
    found = maximal_lottery(case.users.win)
    assert found.certified
    assert found.policy[0] <= 1e-9
    assert kl_nlhf(case.users.win, np.full(4, -np.log(4)), 1.3).policy[0] <= 1e-6


def test_intransitive_games_of_many_alternatives():
    win = random_intransitive(np.random.default_rng(0), 60, 1.0)
    assert maximal_lottery(win).certified
    assert kl_nlhf(win, np.full(60, -np.log(60)), 0.5).certified


def test_references_below_the_range_of_floating_point():
    """An alternative of reference mass exp(-10^5): RLHF is drawn to the wrong one of the other two, NLHF is
    not.

    Users: a share 10/(10 + e^b) wants alternative 1, the rest 2 and, a little, 0; nearly all comparisons are
        against 2.
    """
    b, rare = 6.0, -1e5
    share = 10 / (10 + np.exp(b))
    users = BradleyTerryUsers([[0, 1, 0], [1 / b, 0, 1]], [share, 1 - share], b)
    clones = np.ceil(4 * np.exp(b))
    comparison, q = np.array([1, 1, clones]) / (clones + 2), np.array([-np.log(2), -np.log(2), rare])
    of_rlhf = rlhf(users.win, comparison, q, 1.0)
    of_nlhf = kl_nlhf(users.win, q, 1.0)
    assert of_rlhf.certified
    assert of_nlhf.certified
    assert distortion(users.average_utility, of_rlhf.policy, q, 1.0) == pytest.approx(
        np.exp(b) / (10 * b), rel=5e-3
    )
    assert distortion(users.average_utility, of_nlhf.policy, q, 1.0) == pytest.approx(1, abs=1e-6)


def test_alternatives_without_mass_do_not_hold_up_the_path():
    """At the lambda of 4e-7 that spends this budget, theirs are coordinates of a million: 200 steps were not
    enough (drawn by `nlhf_distortion` at root seed 2).
    """
    win = [
        [0.5, 0.5153, 0.3937, 0.501],
        [0.4847, 0.5, 0.4787, 0.1914],
        [0.6063, 0.5213, 0.5, 0.3077],
        [0.499, 0.8086, 0.6923, 0.5],
    ]
    q = np.array([-7714.8, -13994.1, -17854.8, 0.0])
    solved = kl_nlhf(win, q, 14.63)
    assert solved.certified
    assert solved.kl(q) == pytest.approx(14.63, abs=1e-4)
