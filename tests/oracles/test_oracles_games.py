"""The oracles of games and rewards on problems whose answers are known by hand."""

import numpy as np
import pytest

from distalign.oracles.games import kl_nlhf, kl_nlhf_by_mirror_descent, maximal_lottery, regularised_nlhf
from distalign.oracles.reward import kl_linear_maximisation, reward_mle


def weighted_rock_paper_scissors(a, b, c):
    """Margins a (0 beats 1), b (1 beats 2), c (2 beats 0): the lottery is (b, c, a)/(a + b + c)."""
    margins = np.array([[0, a, -c], [-a, 0, b], [c, -b, 0]])
    return (1 + margins) / 2


def test_lottery_of_a_weighted_cycle():
    lottery, value = maximal_lottery(weighted_rock_paper_scissors(0.2, 0.3, 0.5))
    np.testing.assert_allclose(lottery, [0.3, 0.5, 0.2], atol=1e-9)
    assert value == pytest.approx(0, abs=1e-9)


def test_nlhf_of_a_cycle_whose_lottery_is_in_the_ball():
    win = weighted_rock_paper_scissors(0.2, 0.3, 0.5)
    np.testing.assert_allclose(kl_nlhf(win, [0.25, 0.5, 0.25], 0.5), [0.3, 0.5, 0.2], atol=1e-4)


def test_nlhf_of_two_alternatives_moves_to_the_edge_of_the_ball():
    p = kl_nlhf([[0.5, 0.6], [0.4, 0.5]], [0.3, 0.7], 0.05)
    assert p[0] * np.log(p[0] / 0.3) + p[1] * np.log(p[1] / 0.7) == pytest.approx(0.05, abs=1e-5)
    np.testing.assert_allclose(p, kl_linear_maximisation([1, 0], [0.3, 0.7], 0.05), atol=1e-5)


def test_reward_of_one_bradley_terry_user():
    h = np.array([1.0, -0.5, -0.5])
    win = 1 / (1 + np.exp(h - h[:, None]))
    np.testing.assert_allclose(reward_mle(win, np.ones((3, 3))), h, atol=1e-4)


@pytest.mark.parametrize("method", ["highs-ds", "highs-ipm"])
def test_every_linear_programming_method_gives_the_same_lottery(method):
    lottery, _ = maximal_lottery(weighted_rock_paper_scissors(0.2, 0.3, 0.5), method)
    np.testing.assert_allclose(lottery, [0.3, 0.5, 0.2], atol=1e-9)


def test_regularised_nlhf_of_two_alternatives():
    """The margin of 0 over 1 is 0.2 whatever is played: log odds = those of the reference + 0.2 / lambda."""
    p = regularised_nlhf([[0.5, 0.6], [0.4, 0.5]], [0.3, 0.7], 0.5)
    assert np.log(p[0] / p[1]) == pytest.approx(np.log(3 / 7) + 0.4, abs=1e-4)


@pytest.mark.parametrize("adaptive", [False, True])
def test_mirror_descent_agrees_with_the_cone_program(adaptive):
    win, q = weighted_rock_paper_scissors(0.2, 0.8, 0.5), np.array([0.25, 0.5, 0.25])
    p = np.exp(kl_nlhf_by_mirror_descent(win, np.log(q), 0.02, adaptive=adaptive))
    np.testing.assert_allclose(p, kl_nlhf(win, q, 0.02), atol=1e-4)
