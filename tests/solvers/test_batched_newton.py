"""Batched Newton on functions with and without a minimum."""

import numpy as np
from scipy.special import expit

from distalign.solvers.batched_newton import batched_newton


def softplus_sum(a):
    """sum of log(1 + e^x) - a x: a minimum for 0 < a < 1, none otherwise."""

    def f(x, rows):
        s = expit(x)
        value = (np.logaddexp(0, x) - a[rows] * x).sum(-1)
        return value, s - a[rows], (s * (1 - s))[:, :, None] * np.eye(x.shape[1])

    return f


def test_each_problem_reaches_its_own_minimum():
    a = np.random.default_rng(0).uniform(0.01, 0.99, (50, 3))
    found = batched_newton(softplus_sum(a), np.full((50, 3), 4.0))
    np.testing.assert_allclose(found.x, np.log(a / (1 - a)), atol=1e-9)
    assert found.gradient.max() <= 1e-12
    assert found.solved.all()


def test_a_problem_without_minimum_shows_and_disturbs_no_other():
    """Unbounded below (a > 1), and an infimum at infinity where the gradient vanishes, too (a = 1)."""
    found = batched_newton(softplus_sum(np.array([[0.3], [1.5], [0.7], [1.0]])), np.zeros((4, 1)))
    assert found.solved.tolist() == [True, False, True, False]
    assert found.gradient[3] < 1e-8
    np.testing.assert_allclose(found.x[[0, 2], 0], np.log([3 / 7, 7 / 3]), atol=1e-9)


def test_a_problem_whose_value_does_not_fall_is_given_up_at_once():
    """Its gradient has the wrong sign, so each step is halved to nothing, once."""
    calls = []

    def f(x, rows):
        calls.append(len(rows))
        return (x**2).sum(-1), -2 * x, np.full((len(x), 1, 1), 2.0)

    found = batched_newton(f, np.ones((1, 1)))
    assert found.x.tolist() == [[1.0]]
    assert not found.solved.any()
    assert len(calls) <= 50
