"""The correction by second answers: annotators who are alike, who differ, certain pairs, refusals."""

import numpy as np
import pytest
from scipy.special import expit, logit

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.repeated_answers import answer_law, repeated_wins, sample_repeated
from distalign.solvers.choice.annotators import corrected_reward, corrected_win


def test_nothing_is_corrected_where_annotators_are_alike():
    users = BradleyTerryUsers(np.random.default_rng(0).random((1, 5)), [1.0], 3.0)
    np.testing.assert_allclose(corrected_win(users.win, repeated_wins(users)), users.win, atol=1e-15)


def test_the_correction_comes_nearer_to_the_average_annotator():
    users = BradleyTerryUsers([[0.9, 0.1], [0.7, 0.5]], [0.5, 0.5], 2.0)
    truth = expit(2.0 * (users.average_utility[0] - users.average_utility[1]))
    corrected = corrected_win(users.win, repeated_wins(users))[0, 1]
    assert abs(corrected - truth) < 0.1 * abs(users.win[0, 1] - truth)
    fit = corrected_reward(users.win, repeated_wins(users), [0.5, 0.5]).reward
    assert fit[0] - fit[1] == pytest.approx(logit(corrected))


def test_both_directions_of_a_pair_sum_to_one_and_certain_pairs_stay():
    rng = np.random.default_rng(1)
    users = BradleyTerryUsers(rng.random((3, 4)), rng.dirichlet(np.ones(3)), 8.0)
    corrected = corrected_win(users.win, repeated_wins(users))
    np.testing.assert_allclose(corrected + corrected.T, 1.0)
    certain = np.array([[0.5, 1.0], [0.0, 0.5]])
    np.testing.assert_array_equal(corrected_win(certain, [[0.25, 1.0], [0.0, 0.25]]), certain)


def test_samples_have_the_law():
    users = BradleyTerryUsers([[0.9, 0.1, 0.3], [0.2, 0.5, 0.4]], [0.25, 0.75], 2.0)
    pairs, law = answer_law(users)
    np.testing.assert_allclose(law.sum((1, 2)), 1.0)
    both = repeated_wins(users)
    np.testing.assert_allclose(law[:, :, 0].sum(1), both[pairs[:, 0], pairs[:, 1]])
    np.testing.assert_allclose(law[:, :, 2].sum(1), both[pairs[:, 1], pairs[:, 0]])
    drawn = sample_repeated(users, 10_000, np.random.default_rng(0), replicates=30)[1]
    assert drawn.sum((2, 3)).tolist() == [[10_000] * 3] * 30
    np.testing.assert_allclose(drawn.mean(0) / 10_000, law, atol=0.005)


def test_what_it_refuses():
    with pytest.raises(InputError, match="shape of win"):
        corrected_win([[0.5, 0.7], [0.3, 0.5]], [[0.25]])
    with pytest.raises(InputError, match="number"):
        sample_repeated(BradleyTerryUsers([[1.0, 0.0]], [1.0], 1.0), 0, np.random.default_rng(0))
