"""Coverage of the worst law: grids of directions, attained by its law, and what a large ball does."""

import numpy as np
import pytest

from distalign import InputError
from distalign.oracles.wasserstein import wasserstein_ball_value
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.regularity import regularity_number


@pytest.fixture(scope="module")
def space():
    instance = log_linear_bradley_terry(np.random.default_rng(0), 2, 3, 2, norm=2.5, beta=1.0)
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 2)
    v = psi[law.chosen] - psi[law.rejected]
    return v, law.weights, np.linalg.norm(v[:, None] - v, axis=2)


def directions(count):
    angle = np.linspace(0, np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.mark.parametrize("radius", [1e-3, 0.1])
def test_is_the_least_over_a_grid_of_directions(space, radius):
    v, p, distance = space
    kl, law = regularity_number(v, p, radius=radius)
    grid = -kl_worst_case(-((directions(2001) @ v.T) ** 2), p, radius).value
    assert kl == pytest.approx(grid.min(), rel=1e-4)
    assert np.linalg.eigvalsh(v.T @ (law[:, None] * v))[0] == pytest.approx(kl, rel=1e-9)
    transport, _ = regularity_number(v, p, radius=radius, cost=distance)
    grid = min(
        -wasserstein_ball_value(-((v @ u) ** 2), p, distance, radius=radius)[0] for u in directions(101)
    )
    assert transport <= grid + 1e-9
    assert transport == pytest.approx(grid, rel=1e-2)


def test_falls_from_the_nominal_one_to_0(space):
    v, p, distance = space
    nominal, _ = regularity_number(v, p, radius=0)
    assert nominal == pytest.approx(np.linalg.eigvalsh(v.T @ (p[:, None] * v))[0])
    values = [regularity_number(v, p, radius=r, cost=distance)[0] for r in (1e-6, 0.05, 0.2, 5.0)]
    assert values[0] == pytest.approx(nominal, rel=1e-3)
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(0, abs=1e-9)  # all mass on one atom


def test_bad_input():
    with pytest.raises(InputError, match="radius must be"):
        regularity_number([[1.0]], [1.0], radius=-0.1)
