"""Families of worst cases: golden numbers, exact ties, and the rules they are made for."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations.worst_cases import borda_worst_case, copeland_worst_case, universal_worst_case
from distalign.solvers.choice.games import TIES, maximal_lottery
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda, borda_scores, reward_mle
from distalign.solvers.choice.voting import copeland
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion, worst_gamma

TEMPERATURES = [0.5, 1, 2, 5, 10, 20, 50]


def of_policy(case, policy):
    return distortion(case.users.average_utility, policy, np.full(len(policy), -np.log(len(policy))), np.inf)


@pytest.mark.parametrize(("b", "distorted"), [(5, 2.5313816139), (10, 4.9954169329)])
def test_golden_universal(b, distorted):
    assert universal_worst_case(b).distortion == pytest.approx(distorted, abs=1e-10)


@pytest.mark.parametrize(("b", "distorted"), [(5, 3.4741812899), (10, 8.0215830108)])
def test_golden_borda(b, distorted):
    case = borda_worst_case(b)
    assert case.distortion == pytest.approx(distorted, abs=1e-10)
    if b == 10:
        np.testing.assert_allclose(
            case.users.weights, [0.004975532635, 0.004450706291, 0.990573761074], atol=1e-12
        )


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("alternatives", [2, 4, 9])
def test_universal_is_the_distortion_of_the_lottery_and_of_borda(b, alternatives):
    case = universal_worst_case(b, alternatives)
    for found in (maximal_lottery(case.users.win), borda(case.users.win, case.comparison)):
        assert found.policy[0] <= 1e-9
        assert of_policy(case, found.policy) == pytest.approx(case.distortion, rel=1e-9)


@pytest.mark.parametrize("b", TEMPERATURES)
def test_universal_approaches_the_bound_from_below(b):
    gaps = [
        1 - universal_worst_case(b, epsilon=e).distortion / minimax_distortion(b) for e in (1e-2, 1e-3, 1e-4)
    ]
    assert all(0 < gap < 4 * e for gap, e in zip(gaps, (1e-2, 1e-3, 1e-4), strict=True))


def test_without_the_margin_every_pair_is_a_tie():
    case = universal_worst_case(8.0, 5, strict=False)
    np.testing.assert_allclose(case.users.win, 0.5, atol=1e-14)
    assert of_policy(case, np.full(5, 0.2)) == pytest.approx(case.distortion, rel=1e-12)


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("epsilon", [1e-2, 1e-3, 1e-4])
def test_borda_and_the_reward_pick_the_worst_alternative(b, epsilon):
    case = borda_worst_case(b, epsilon)
    assert borda(case.users.win, case.comparison).policy.tolist() == [0, 0, 1]
    assert reward_mle(case.users.win, case.comparison).reward.argmax() == 2
    assert of_policy(case, [0, 0, 1]) == pytest.approx(case.distortion, rel=1e-9)
    assert abs(case.distortion / borda_distortion(b) - 1) < 4 * epsilon
    assert case.users.average_utility.argmin() == 2


@pytest.mark.parametrize("b", [0.01, *TEMPERATURES])
def test_its_first_type_is_the_maximiser_of_the_curve(b):
    assert 1 - borda_worst_case(b).users.utilities[0, 0] == pytest.approx(float(worst_gamma(b)), rel=1e-9)


def test_borda_worst_case_needs_its_comparisons():
    """With uniform comparisons the same users give alternative 2 no lead."""
    case = borda_worst_case(10.0)
    assert borda_scores(case.users.win, np.full(3, 1 / 3)).argmax() != 2


@pytest.mark.parametrize("b", TEMPERATURES)
def test_every_maximal_lottery_on_it_obeys_the_theorem(b):
    case = borda_worst_case(b)
    u = case.users.average_utility
    found = {ties: of_policy(case, maximal_lottery(case.users.win, ties, u).policy) for ties in TIES}
    assert found["any"] == pytest.approx(1, abs=1e-9)
    assert 1 < found["uniform"] < found["adversarial"] <= minimax_distortion(b)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="bt_temperature"):
        universal_worst_case(0.0)
    with pytest.raises(InputError, match="epsilon"):
        borda_worst_case(1.0, 2.0)
    with pytest.raises(InputError, match="alternatives"):
        universal_worst_case(1.0, 1)


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("clones", [2, 5])
def test_copeland_elects_the_end_of_a_chain_of_two_narrow_victories(b, clones):
    case = copeland_worst_case(b, 1e-4, clones)
    found = copeland(case.users.win)
    assert found.policy[-1] == 1
    assert of_policy(case, found.policy) == pytest.approx(case.distortion)
    assert case.distortion == pytest.approx(borda_distortion(b), rel=1e-3)


def test_one_clone_makes_a_cycle_of_three():
    win = copeland_worst_case(5.0, 1e-3, clones=1).users.win > 0.5
    assert win.tolist() == [[False, False, True], [True, False, False], [False, True, False]]
