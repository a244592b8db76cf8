"""The semi-infinite search: against the cvxpy dual, the exact curves, the analytic dual, and the rules
themselves.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.oracles.worst_case_search import borda_bound, lottery_bound
from distalign.populations import BradleyTerryUsers
from distalign.solvers.choice import worst_case_search as search
from distalign.solvers.choice.reward import borda_scores
from distalign.solvers.choice.worst_case_search import (
    borda_worst_population,
    lottery_worst_population,
    type_grid,
)
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion


def s(t):
    return np.tanh(t / 2) / 2


def assert_borda_elects(users, comparison, winner, slack=1e-7):
    scores = borda_scores(users.win, comparison)
    assert scores[winner] >= scores.max() - slack * np.abs(users.utilities).max(1).min(), scores


@pytest.mark.parametrize("b", [0.1, 2.0, 10.0, 50.0])
def test_borda_reaches_its_exact_worst_case_with_the_analytic_dual(b):
    found = borda_worst_population(b, [0, 1, 0])
    assert found.distortion == pytest.approx(borda_distortion(b), rel=1e-8)
    assert found.distortion <= borda_distortion(b) * (1 + 1e-9)
    assert found.violation <= 1e-8
    expected = [1 / s(b), (borda_distortion(b) / minimax_distortion(b) - 1) / s(b), 0]
    np.testing.assert_allclose(found.multipliers, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("b", [0.1, 2.0, 10.0, 50.0])
def test_the_lottery_reaches_the_minimax_bound(b):
    found = lottery_worst_population(b, [0, 1])
    assert found.distortion == pytest.approx(minimax_distortion(b), rel=1e-8)
    assert found.multipliers[0] == pytest.approx(1 / s(b), rel=1e-6)


def test_the_population_found_is_one():
    """Its utilities, weights and winner give the claimed distortion, by the rule's own code."""
    for b in (2.0, 10.0):
        found = borda_worst_population(b, [0.05, 0.9, 0.05])
        users = BradleyTerryUsers(found.utilities, found.weights, b)
        assert len(found.weights) <= 4
        assert users.average_utility[0] / users.average_utility[2] == pytest.approx(
            found.distortion, rel=1e-7
        )
        assert_borda_elects(users, [0.05, 0.9, 0.05], 2)
        with pytest.raises(AssertionError):
            assert_borda_elects(users, [0.05, 0.9, 0.05], 0, slack=-1)


def test_against_the_dual_in_cvxpy():
    rng = np.random.default_rng(0)
    for _ in range(4):
        b, mu = float(rng.uniform(1, 8)), rng.dirichlet(np.ones(3))
        for found, value, multipliers in (
            (f := borda_worst_population(b, mu), *borda_bound(b, mu, _with(f), 0, 2)),
            (f := lottery_worst_population(b, mu), *lottery_bound(b, mu, _with(f), 0)),
        ):
            assert found.distortion == pytest.approx(value, rel=1e-6)
            assert (multipliers >= 0).all()


def _with(found):
    return np.concatenate([type_grid(3, 7, 1e-4), found.utilities])


def test_the_dual_holds_on_types_that_were_not_looked_at():
    rng, b, mu = np.random.default_rng(1), 6.0, np.array([0.1, 0.6, 0.3])
    found = borda_worst_population(b, mu)
    u = rng.random((50_000, 3)) ** rng.choice([1, 4, 12], (50_000, 1))
    scores = s(b * (u[:, :, None] - u[:, None, :])) @ mu
    excess = (u[:, 0] + (scores[:, [2]] - scores) @ found.multipliers - found.distortion * u[:, 2]) / u.max(1)
    assert excess.max() <= 1e-5
    wrong = (
        u[:, 0] + (scores[:, [2]] - scores) @ found.multipliers - 0.99 * found.distortion * u[:, 2]
    ) / u.max(1)
    assert wrong.max() > 1e-5  # and a smaller t is refuted


def test_four_alternatives_are_no_worse_than_three():
    found = borda_worst_population(5.0, [0, 0.7, 0.3, 0])
    assert found.distortion <= borda_distortion(5.0) * (1 + 1e-9)
    assert found.violation <= 1e-8


def test_bad_input():
    with pytest.raises(InputError, match="comparison must be a distribution over two to four"):
        borda_worst_population(1.0, [0.5, 0.6])
    with pytest.raises(InputError, match="lottery must be a distribution over two to four"):
        lottery_worst_population(1.0, np.full(5, 0.2))
    with pytest.raises(InputError, match="bt_temperature"):
        lottery_worst_population(0.0, [0, 1])
    with pytest.raises(InputError, match="epsilon"):
        borda_worst_population(1.0, [0, 1, 0], epsilon=0.0)


def test_a_failed_program_is_an_error(monkeypatch):
    class Failed:
        status, message = 4, "numerical difficulties"

    monkeypatch.setattr(search, "linprog", lambda *_, **__: Failed)
    with pytest.raises(ArithmeticError, match="numerical difficulties"):
        lottery_worst_population(1.0, [0, 1])
