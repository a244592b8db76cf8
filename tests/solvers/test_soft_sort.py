"""The soft sort against two other roads, and the threshold below which it is the hard sort."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from distalign.checks import InputError
from distalign.oracles.permutahedron import project_on_permutahedron
from distalign.solvers.soft_sort import exact_strength, soft_sort


@pytest.mark.parametrize("share", [0.3, 1.5, 4.0, 50.0])
def test_soft_sort_is_the_projection(share):
    values = np.random.default_rng(3).normal(0, 5, 6)
    strength = share * exact_strength(values)
    np.testing.assert_allclose(
        soft_sort(values, strength),
        project_on_permutahedron(np.arange(6, 0, -1) / strength, values),
        atol=1e-5,
    )


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_soft_sort_by_another_isotonic_regression(strength):
    values = np.random.default_rng(4).standard_cauchy(200)
    z = np.arange(200, 0, -1) / strength
    other = z - isotonic_regression(z + np.sort(-values), increasing=False).x
    np.testing.assert_allclose(soft_sort(values, strength), other, atol=1e-9 * np.abs(z).max())


def test_threshold_is_sharp():
    values = np.array([3.0, -1.0, 0.5, 0.4])
    hard = -np.sort(-values)
    np.testing.assert_array_equal(soft_sort(values, 0.999 * exact_strength(values)), hard)
    # Two entries 2.5 apart may lie 2.5 / 1.01 apart at most, and keep their mean.
    assert np.abs(soft_sort(values, 1.01 * exact_strength(values)) - hard).max() > 0.4 * 2.5 * (1 - 1 / 1.01)


@pytest.mark.parametrize(("spread", "low", "high"), [(5, 0, 0), (20, 0.5, 3), (100, 50, 90)])
def test_usual_strength_sorts_a_batch_hard_unless_its_log_ratios_are_wide(spread, low, high):
    draws = np.random.default_rng(0).normal(0, spread, (200, 35))
    assert low <= np.median([np.abs(soft_sort(x, 0.1) + np.sort(-x)).max() for x in draws]) <= high


def test_bad_input():
    with pytest.raises(InputError, match="strength"):
        soft_sort([1.0, 2.0], 0.0)
    with pytest.raises(InputError, match="one vector"):
        soft_sort([[1.0, 2.0]], 1.0)
    with pytest.raises(InputError, match="belong together"):
        project_on_permutahedron([1.0, 2.0], [1.0])
