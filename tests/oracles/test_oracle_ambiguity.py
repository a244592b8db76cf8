"""The cone programs of the KL ball against duality in one dimension and brute force."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from distalign import InputError
from distalign.oracles.ambiguity import kl_ball_fit, kl_ball_value, kl_penalised_fit


def dual(losses, p, radius):
    def value(log_lam):
        lam, top = np.exp(log_lam), losses.max()
        return lam * radius + top + lam * np.log(p @ np.exp((losses - top) / lam))

    return minimize_scalar(value, bounds=(-9, 9), method="bounded", options={"xatol": 1e-11}).fun


@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.7])
def test_value_is_the_dual(radius):
    rng = np.random.default_rng(0)
    losses, p = rng.exponential(size=12), rng.dirichlet(np.ones(12))
    assert kl_ball_value(losses, p, radius) == pytest.approx(dual(losses, p, radius), abs=1e-7)


def test_value_beyond_the_worst_atom_and_without_an_empty_one():
    assert kl_ball_value([0.0, 1.0, 5.0], [0.6, 0.4, 0.0], 1.2) == pytest.approx(1.0, abs=1e-7)


def test_fits_beat_a_grid():
    v, p = np.array([[1.0], [-1.0], [0.4], [-0.4]]), np.array([0.55, 0.1, 0.25, 0.1])
    grid = np.linspace(-1, 4, 2001)
    losses = np.logaddexp(0, -0.7 * grid[:, None] * v[:, 0])
    theta, value = kl_ball_fit(v, p, beta=0.7, radius=0.05)
    values = np.array([dual(row, p, 0.05) for row in losses])
    assert value == pytest.approx(values.min(), abs=1e-6)
    assert theta[0] == pytest.approx(grid[values.argmin()], abs=5e-3)
    theta, value = kl_penalised_fit(v, p, beta=0.7, temperature=0.5)
    values = 0.5 * np.log(np.exp(losses / 0.5) @ p)
    assert value == pytest.approx(values.min(), abs=1e-6)
    assert theta[0] == pytest.approx(grid[values.argmin()], abs=5e-3)


def test_bad_input():
    with pytest.raises(InputError, match="radius must be"):
        kl_ball_value([0.0], [1.0], 0.0)
    with pytest.raises(InputError, match="p has shape"):
        kl_ball_fit([[1.0]], [0.5, 0.5], radius=0.1)
    with pytest.raises(InputError, match="temperature must be"):
        kl_penalised_fit([[1.0]], [1.0], temperature=-1.0)
