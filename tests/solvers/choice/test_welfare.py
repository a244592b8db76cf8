"""MaxMin, Nash welfare and the group mixture against cvxpy, and their certificates."""

import cvxpy as cp
import numpy as np
import pytest

from distalign.checks import InputError
from distalign.solvers.choice.certified import in_ball
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.welfare import group_mixture, maxmin, nash_welfare


def problem(seed, groups=3, size=5):
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(size) * 3)
    common = rng.normal(size=size)  # something that all groups like, so that a bargain exists
    return common + rng.normal(size=(groups, size)), rng.dirichlet(np.ones(groups)), q


def by_cvxpy(rewards, q, budget, objective):
    p = cp.Variable(len(q), nonneg=True)
    gains = rewards @ p - rewards @ q
    ball = [cp.sum(p) == 1, cp.sum(cp.kl_div(p, q)) <= budget]
    solved = cp.Problem(cp.Maximize(objective(gains)), ball)
    solved.solve(solver="CLARABEL")
    return p.value, solved.value


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [0.05, 0.6])
def test_against_cvxpy(seed, budget):
    rewards, shares, q = problem(seed)
    for found, objective in (
        (maxmin(rewards, np.log(q), budget), cp.min),
        (nash_welfare(rewards, shares, np.log(q), budget), lambda gains: shares @ cp.log(gains)),
    ):
        theirs, value = by_cvxpy(rewards, q, budget, objective)
        assert found.certified
        assert in_ball(found.log_policy, np.log(q), budget)
        gains = rewards @ (found.policy - q)
        ours = gains.min() if objective is cp.min else shares @ np.log(gains)
        assert ours >= value - 1e-5
        np.testing.assert_allclose(found.policy, theirs, atol=2e-3)


def test_a_certificate_bounds_what_is_missing():
    """The optimum of other weights has a gap that no policy of the ball exceeds; the solver closes it."""
    rewards, _, q = problem(1)
    best = maxmin(rewards, np.log(q), 0.3)
    gained = (rewards @ (best.policy - q)).min()
    equal = kl_linear_maximisation(rewards.mean(0), np.log(q), 0.3).policy
    gains = rewards @ (equal - q)
    assert gained > gains.min() + 1e-3
    assert gained <= gains.mean() + 1e-12  # the dual value at equal weights
    assert best.certificate < 1e-6 * np.ptp(rewards, axis=1).max()


def test_a_bargain_that_nobody_can_make_is_not_certified():
    opposed = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = nash_welfare(opposed, [0.5, 0.5], np.log([0.5, 0.5]), 0.1)
    assert not found.certified
    level = maxmin(opposed, np.log([0.5, 0.5]), 0.1)
    np.testing.assert_allclose(level.policy, 0.5, atol=1e-6)


def test_the_mixture_is_that_of_the_groups_and_in_the_ball():
    for seed in range(5):
        rewards, shares, q = problem(seed)
        found = group_mixture(rewards, shares, np.log(q), 0.4)
        own = np.array([kl_linear_maximisation(r, np.log(q), 0.4).policy for r in rewards])
        np.testing.assert_allclose(found.policy, shares @ own)
        assert in_ball(found.log_policy, np.log(q), 0.4)
        assert found.certified


def test_what_they_refuse():
    rewards, shares, q = problem(0)
    for budget in (0.0, np.inf):
        with pytest.raises(InputError, match="above 0 and finite"):
            maxmin(rewards, np.log(q), budget)
    with pytest.raises(InputError, match="shares must be 3"):
        nash_welfare(rewards, shares[:2], np.log(q), 0.1)
