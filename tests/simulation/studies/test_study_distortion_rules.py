"""The parts of the studies of samples and of the black-box search."""

import numpy as np
import pytest
from study_kit import found

from distalign.populations.worst_cases import borda_worst_case
from distalign.simulation.studies.distortion import black_box
from distalign.simulation.studies.distortion.distortion_samples import fitted_saturation, shares
from distalign.simulation.studies.distortion.problems import AlignmentProblem
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import reward_mle
from distalign.theory.distortion.constants import borda_distortion


def test_shares_of_unasked_pairs_are_ties():
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1], wins[0, 1, 0] = 3, 1
    np.testing.assert_allclose(shares(wins)[0], [[0.5, 0.75, 0.5], [0.25, 0.5, 0.5], [0.5, 0.5, 0.5]])


def test_saturation_is_read_off_the_right_curve():
    rows = found("distortion_samples")
    law = rows.assign(pair_error=rows.predicted)
    fitted = fitted_saturation(law).merge(
        law.loc[~law.play, ["answers", "rarest", "saturation"]].drop_duplicates()
    )
    np.testing.assert_allclose(fitted.fitted_saturation, fitted.saturation, rtol=1e-8)


def test_a_batch_of_problems_is_what_the_solvers_say():
    rng = np.random.default_rng(0)
    for on_policy in (False, True):
        genes = rng.uniform(black_box.LOW, black_box.HIGH, (12, len(black_box.LOW)))
        values = black_box.ratios(black_box.decode(genes, on_policy), 3.0)
        for one, value in zip(genes, values, strict=True):
            problem, measured = black_box.certified(black_box.decode(one[None], on_policy), 3.0)
            assert measured == pytest.approx(value, rel=1e-5)
            if on_policy:
                np.testing.assert_allclose(np.exp(problem.log_reference), problem.comparison, atol=1e-12)


def test_batched_fit_and_benchmark_against_the_solvers():
    rng = np.random.default_rng(1)
    problem, _ = black_box.certified(
        black_box.decode(rng.uniform(-1, 0, (1, len(black_box.LOW))), False), 4.0
    )
    pairs = np.outer(problem.comparison, problem.comparison)[black_box.PAIRS]
    reward = black_box._fit(problem.users.win[black_box.PAIRS][None], (pairs / pairs.max())[None])[0]
    np.testing.assert_allclose(
        reward - reward.mean(), reward_mle(problem.users.win, problem.comparison).reward, atol=1e-8
    )
    best = black_box._best(problem.users.average_utility[None], problem.log_reference[None], np.array([0.2]))[
        0
    ]
    exact = kl_linear_maximisation(problem.users.average_utility, problem.log_reference, 0.2)
    assert problem.users.average_utility @ np.exp(best) == pytest.approx(
        problem.users.average_utility @ exact.policy, rel=1e-8
    )


def test_genes_of_a_known_problem_give_its_distortion():
    case = borda_worst_case(4.0, 1e-2)
    known = AlignmentProblem(case.users, case.comparison, np.log(case.comparison), np.inf)
    genes = black_box.encode(known, black_box.KNOWN_STRENGTH)
    _, measured = black_box.certified(black_box.decode(genes[None], True), 4.0)
    assert 0.97 * borda_distortion(4.0) < measured <= borda_distortion(4.0)
