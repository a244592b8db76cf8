"""Worst cases of RLHF under a KL constraint and under correlated pairs: golden numbers, reductions, and who
picks what.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from distalign.checks import InputError
from distalign.populations.worst_cases_kl import (
    correlated_worst_case,
    exponential_worst_case,
    unsupported_worst_case,
)
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda_scores, reward_mle, rlhf
from distalign.theory.distortion.constants import (
    correlated_rlhf_distortion,
    exponential_rlhf_distortion,
    minimax_distortion,
    unsupported_rlhf_distortion,
)


def loss(case, rule):
    """Certified distortion of `rlhf` or `kl_nlhf`."""
    if rule is rlhf:
        found = rlhf(case.users.win, case.comparison, case.log_reference, case.kl_budget)
    else:
        found = kl_nlhf(case.users.win, case.log_reference, case.kl_budget)
    assert found.certified
    return distortion(case.users.average_utility, found.policy, case.log_reference, case.kl_budget)


@pytest.mark.parametrize(
    ("b", "golden"), [(6, 6.724), (8, 37.261), (10, 220.258), (12, 1356.255), (14, 8589.84)]
)
def test_golden_exponential(b, golden):
    case = exponential_worst_case(b)
    assert loss(case, rlhf) == pytest.approx(golden, abs=6e-3 if b > 13 else 6e-4)
    assert case.distortion == pytest.approx(float(exponential_rlhf_distortion(b)), rel=1e-12)
    assert loss(case, kl_nlhf) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("factor", "golden"), [(1, 219.59), (10, 220.20), (100, 220.258)])
def test_golden_accuracy_against_the_mass_of_the_clones(factor, golden):
    case = exponential_worst_case(10.0, log_excluded=-factor * 10 * np.exp(10))
    assert loss(case, rlhf) == pytest.approx(golden, abs=6e-3 if factor < 100 else 6e-4)


def test_a_reference_that_float64_can_hold_is_no_worst_case():
    case = exponential_worst_case(14.0, log_excluded=-745.0)
    assert loss(case, rlhf) < 0.1 * exponential_rlhf_distortion(14.0)


@pytest.mark.parametrize("b", [2.0, 3.0, 4.0])
def test_merged_clones_are_the_explicit_problem(b):
    merged, explicit = exponential_worst_case(b), exponential_worst_case(b, merged=False)
    assert len(explicit.comparison) > 50
    r, s = (reward_mle(c.users.win, c.comparison).reward for c in (merged, explicit))
    np.testing.assert_allclose(s[:3] - s[0], r - r[0], atol=1e-11)
    np.testing.assert_allclose(s[2:], s[2], atol=1e-11)
    for rule in (rlhf, kl_nlhf):
        assert loss(explicit, rule) == pytest.approx(loss(merged, rule), rel=1e-7)


def test_merging_with_the_wrong_weight_is_seen():
    """Negative control of the comparison above: one clone's weight for all of them."""
    merged, explicit = exponential_worst_case(3.0, clones=1), exponential_worst_case(3.0, merged=False)
    r, s = (reward_mle(c.users.win, c.comparison).reward for c in (merged, explicit))
    assert abs((s[1] - s[0]) - (r[1] - r[0])) > 1e-2


@pytest.mark.parametrize("b", [8.0, 14.0])
def test_tolerance_of_the_reward_is_relative_to_the_weights(b):
    """The gap stays of order 1 while gradients are of order e^{-2b}: an absolute tolerance of 1e-8 stops at
    once.
    """
    mpmath = pytest.importorskip("mpmath")
    case = exponential_worst_case(b)
    p, mu = case.users.win, case.comparison
    mpmath.mp.dps = 60
    sigma = lambda t: 1 / (1 + mpmath.exp(-t))  # noqa: E731

    def conditions(x, y):
        r = (mpmath.mpf(0), x, y)
        return [
            sum(
                mu[i] * mu[j] * (p[i, j] * sigma(r[j] - r[i]) - p[j, i] * sigma(r[i] - r[j]))
                for j in range(3)
                if j != i
            )
            for i in (1, 2)
        ]

    exact = mpmath.findroot(conditions, (0.3, b), tol=1e-80)
    fitted = reward_mle(p, mu)
    assert fitted.certified
    np.testing.assert_allclose(fitted.reward[1:] - fitted.reward[0], [float(x) for x in exact], atol=1e-8)

    def likelihood(r):
        d = np.subtract.outer(r, r)
        residual = np.outer(mu, mu) * (p - 1 / (1 + np.exp(-d)))
        return float((np.outer(mu, mu) * p * np.logaddexp(0, -d)).sum()), -residual.sum(1)

    planted = minimize(likelihood, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    assert abs((planted[1] - planted[0]) - float(exact[0])) > 1e-3


@pytest.mark.parametrize("b", [0.5, 1, 3, 5, 8, 10, 14])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-3])
def test_sharper_family(b, epsilon):
    case = unsupported_worst_case(b, epsilon)
    assert loss(case, rlhf) == pytest.approx(case.distortion, rel=1e-9)
    assert -2 * epsilon < case.distortion / unsupported_rlhf_distortion(b) - 1 < 0
    assert loss(case, kl_nlhf) <= minimax_distortion(b) * (1 + 1e-8)
    scores = borda_scores(case.users.win, case.comparison)
    assert scores[1] > scores[0]
    assert case.users.average_utility[0] > case.users.average_utility[1]


def test_golden_chain():
    average = correlated_worst_case(10.0, 6).users.average_utility
    np.testing.assert_allclose(
        average, [1 / 3, 0.31494689, 0.28499347, 0.24563538, 0.21626279, 0.18712416], atol=5e-9
    )


@pytest.mark.parametrize("b", [0.5, 2.0, 10.0, 50.0])
def test_chain_keeps_the_lemma(b):
    case = correlated_worst_case(b, 200)
    u, average = case.users.utilities, case.users.average_utility
    assert u.min() >= 0
    assert u.max() <= 1
    assert (np.diagonal(case.users.win, -1) > 0.5).all()
    fall = 2 / (3 * b) * np.log1p(np.tanh(b / 4 * average[:-1]) ** 3)
    assert (average[1:] <= average[:-1] - fall + 1e-15).all()
    assert average.min() > 0
    assert case.comparison.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(("b", "golden"), [(2, 8.64), (10, 42.83)])
def test_golden_growth_of_the_chain(b, golden):
    case = correlated_worst_case(b, 1000)
    assert case.distortion == pytest.approx(golden, abs=6e-3)
    assert case.distortion == pytest.approx(float(correlated_rlhf_distortion(b, 1000)), rel=0.02)


@pytest.mark.parametrize("b", [2.0, 10.0])
@pytest.mark.parametrize("m", [2, 3, 10, 100])
def test_rlhf_takes_the_last_of_the_chain_and_nlhf_does_not(b, m):
    case = correlated_worst_case(b, m)
    assert (np.diff(reward_mle(case.users.win, case.comparison).reward) > 0).all()
    assert loss(case, rlhf) == pytest.approx(case.distortion, rel=1e-9)
    assert loss(case, kl_nlhf) <= minimax_distortion(b) * (1 + 1e-8)


@pytest.mark.parametrize(
    ("b", "spare", "last"), [(2, -1.5, True), (2, -1.3, False), (10, -1.4, True), (10, -1.2, False)]
)
def test_how_few_other_pairs_the_chain_of_ten_bears(b, spare, last):
    case = correlated_worst_case(b, 10, spare=10**spare)
    assert (reward_mle(case.users.win, case.comparison).reward.argmax() == 9) == last


@pytest.mark.parametrize(("b", "golden"), [(2, 1.0045), (10, 1.0557)])
def test_independent_pairs_do_the_chain_no_harm(b, golden):
    case = correlated_worst_case(b, 30)
    assert reward_mle(case.users.win, np.full(30, 1 / 30)).reward.argmax() == 0
    assert loss(case, kl_nlhf) == pytest.approx(golden, abs=6e-5)


def test_each_problem_is_what_its_docstring_says():
    """Budget, reference and comparisons in full, with the masses that stand for an excluded alternative."""
    b, m, eps = 3.0, 5, 0.1
    chain = correlated_worst_case(b, m)
    assert chain.kl_budget == np.log(m)
    np.testing.assert_allclose(chain.log_reference, -np.log(m))
    others = [(i, j) for i in range(m) for j in range(m) if abs(i - j) > 1]
    for i, j in others:
        assert chain.comparison[i, j] == pytest.approx(m**-3 / len(others))
        assert chain.comparison[0, 0] == 0
    for i in range(m - 1):
        assert chain.comparison[i, i + 1] == chain.comparison[i + 1, i]
        assert chain.comparison[i, i + 1] == pytest.approx((1 - m**-3) / (2 * (m - 1)))
    for case, budget, excluded in (
        (unsupported_worst_case(b, eps), np.log(2), -((b + 60) ** 2) / (eps / 4) ** 2),
        (exponential_worst_case(b), 1.0, -100 * b * np.exp(b)),
    ):
        assert case.kl_budget == budget
        np.testing.assert_allclose(case.log_reference, [-np.log(2), -np.log(2), excluded], rtol=1e-12)
        assert case.comparison.sum() == pytest.approx(1)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="bt_temperature"):
        exponential_worst_case(-1.0)
    with pytest.raises(InputError, match="clones"):
        exponential_worst_case(4.0, clones=0)
    with pytest.raises(InputError, match="log_excluded"):
        exponential_worst_case(4.0, log_excluded=0.0)
    with pytest.raises(InputError, match="log_excluded"):
        unsupported_worst_case(4.0, log_excluded=-np.inf)
    with pytest.raises(InputError, match="epsilon"):
        unsupported_worst_case(4.0, 1.0)
    with pytest.raises(InputError, match="alternatives"):
        correlated_worst_case(4.0, 1)
    with pytest.raises(InputError, match="spare"):
        correlated_worst_case(4.0, 5, spare=0.0)
