"""Worst laws that move shares of mass: linear programs, ties, rows, limits and collapse."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.oracles import cvar_value, total_variation_ball_value
from distalign.solvers.robust import (
    cvar_collapse_level,
    cvar_worst_case,
    total_variation_collapse_radius,
    total_variation_worst_case,
)

RNG = np.random.default_rng(5)
LOSSES, LAWS = RNG.normal(size=(4, 6)).round(1), RNG.dirichlet(np.ones(6), 4)  # rounding makes ties
BALLS = [(cvar_worst_case, cvar_value), (total_variation_worst_case, total_variation_ball_value)]


@pytest.mark.parametrize("size", [0.03, 0.4, 0.95])
@pytest.mark.parametrize(("worst_case", "program"), BALLS)
def test_rows_against_the_linear_program(worst_case, program, size):
    found = worst_case(LOSSES, LAWS, size)
    for i in range(4):
        assert found.value[i] == pytest.approx(program(LOSSES[i], LAWS[i], size), abs=1e-9)
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(found.weights.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose((found.weights * LOSSES).sum(1), found.value, atol=1e-12)


def test_atoms_without_mass_get_none():
    losses, p = [9.0, 1.0, 0.0], [0.0, 0.5, 0.5]
    for worst_case, _ in BALLS:
        found = worst_case(losses, p, 0.3)
        assert found.weights[0] == 0
        assert found.value <= 1


@pytest.mark.parametrize("size", [0.0, 1.0, np.nan])
def test_sizes_outside_of_the_unit_interval_are_refused(size):
    for worst_case, program in BALLS:
        for call in (worst_case, program):
            with pytest.raises(InputError):
                call(LOSSES[0], LAWS[0], size)


def test_collapse_is_where_a_law_of_mean_zero_enters_the_ball():
    v = RNG.normal(size=(9, 2))
    p = RNG.dirichlet(np.ones(9))
    radius, level = total_variation_collapse_radius(v, p), cvar_collapse_level(v, p)
    # From there on the worst mean of every direction is at least 0; before it, that of some is below.
    turned = [-v @ np.array([np.cos(a), np.sin(a)]) for a in np.linspace(0, 2 * np.pi, 720)]
    assert min(total_variation_worst_case(x, p, radius).value for x in turned) >= -1e-9
    assert min(total_variation_worst_case(x, p, 0.97 * radius).value for x in turned) < 0
    assert min(cvar_worst_case(x, p, level).value for x in turned) >= -1e-9
    assert min(cvar_worst_case(x, p, 1 - 0.97 * (1 - level)).value for x in turned) < 0
    with pytest.raises(InputError, match="separable"):
        cvar_collapse_level(np.abs(v), p)
