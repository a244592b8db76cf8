"""The worst law of a KL ball against the cone program, feasibility, and its special cases."""

import numpy as np
import pytest

from distalign import InputError
from distalign.oracles.ambiguity import kl_ball_value
from distalign.solvers.robust.kl_ball import kl_worst_case


def divergence(q, p):
    return np.where(q > 0, q * np.log(np.where(q > 0, q, 1) / np.where(p > 0, p, 1)), 0).sum(-1)


@pytest.fixture
def problems():
    rng = np.random.default_rng(0)
    return rng.exponential(size=(40, 15)), rng.dirichlet(np.ones(15), 40)


@pytest.mark.parametrize("radius", [1e-8, 1e-3, 0.05, 0.5, 2.0])
def test_feasible_tight_and_dual(problems, radius):
    losses, p = problems
    worst = kl_worst_case(losses, p, radius)
    np.testing.assert_allclose(worst.weights.sum(1), 1, atol=1e-13)
    free = worst.multiplier > 0
    np.testing.assert_allclose(divergence(worst.weights, p)[free], radius, rtol=1e-6)
    assert (divergence(worst.weights, p) <= radius * (1 + 1e-6)).all()
    np.testing.assert_allclose((worst.weights * losses).sum(1), worst.value, rtol=1e-10)  # primal = dual


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
def test_against_the_cone_program(problems, radius):
    losses, p = problems
    oracle = [kl_ball_value(a, b, radius) for a, b in zip(losses[:8], p[:8], strict=True)]
    np.testing.assert_allclose(kl_worst_case(losses[:8], p[:8], radius).value, oracle, atol=1e-7)


def test_no_law_of_the_ball_is_worse(problems):
    losses, p = problems
    worst = kl_worst_case(losses, p, 0.2)
    rng = np.random.default_rng(1)
    for _ in range(200):
        q = p * np.exp(rng.normal(size=p.shape) * rng.uniform(0, 1.5))
        q /= q.sum(1, keepdims=True)
        inside = divergence(q, p) <= 0.2
        assert ((q * losses).sum(1) <= worst.value + 1e-12)[inside].all()


def test_multiplier_0_where_the_worst_atoms_fit_into_the_ball():
    worst = kl_worst_case([1.0, 3.0, 3.0, 9.0], [0.2, 0.5, 0.3, 0.0], -np.log(0.8) + 1e-9)
    assert worst.multiplier == 0
    np.testing.assert_allclose(worst.weights, [0, 0.625, 0.375, 0])
    assert worst.value == 3
    assert kl_worst_case([1.0, 3.0, 3.0, 9.0], [0.2, 0.5, 0.3, 0.0], -np.log(0.8) - 1e-6).multiplier > 0


def test_equal_losses_and_losses_equal_up_to_rounding():
    for losses in (np.full(4, 0.7), np.log(2) + np.array([0, 1, -1, 2]) * 1e-16):
        worst = kl_worst_case(losses, np.full(4, 0.25), 0.1)
        np.testing.assert_allclose(worst.weights, 0.25)
        assert worst.value == pytest.approx(losses[0])


def test_small_radius_and_scale():
    rng = np.random.default_rng(2)
    losses, p = rng.normal(size=20), rng.dirichlet(np.ones(20))
    variance = np.cov(losses, aweights=p, ddof=0)
    worst = kl_worst_case(losses, p, 1e-8)
    assert worst.multiplier == pytest.approx(np.sqrt(variance / 2e-8), rel=1e-3)
    assert worst.value - p @ losses == pytest.approx(np.sqrt(2e-8 * variance), rel=1e-3)
    scaled = kl_worst_case(1e6 * losses - 3e6, p, 1e-2)
    np.testing.assert_allclose(scaled.value, 1e6 * kl_worst_case(losses, p, 1e-2).value - 3e6, rtol=1e-9)


def test_value_grows_with_the_radius(problems):
    losses, p = problems
    values = np.stack([kl_worst_case(losses, p, r).value for r in np.geomspace(1e-6, 5, 30)])
    assert (np.diff(values, axis=0) >= -1e-12).all()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([0.0], [1.0], 0.0), "radius must be"),
        (([0.0, 1.0], [1.0], 0.1), "one probability for each atom"),
        (([0.0, 1.0], [0.5, 0.6], 0.1), "sum to 1"),
        (([0.0, 1.0], [1.5, -0.5], 0.1), "non-negative"),
    ],
)
def test_bad_input(args, message):
    with pytest.raises(InputError, match=message):
        kl_worst_case(*args)
