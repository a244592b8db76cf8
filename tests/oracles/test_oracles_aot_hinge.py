"""Linear programs for the hinge: their cost is the objective's, and nothing near or on a grid is lower."""

from functools import partial

import numpy as np
import pytest
import torch

from distalign.oracles.aot_hinge import hinge_minimum
from distalign.simulation.multistart import values
from distalign.simulation.studies.aot import toy
from distalign.simulation.studies.aot.aot_penalties import MARGIN, _cost


@pytest.mark.parametrize("dimension", [2, 4])
def test_cost_is_the_objective_and_nothing_near_is_lower(dimension):
    rng = np.random.default_rng(dimension)
    tables = toy.paired_tables([toy.draw(rng, dimension) for _ in range(4)])
    for i in range(4):
        delta, margin, weights = (t[i].numpy() for t in tables)
        theta, cost = hinge_minimum(
            margin, delta, weights / weights.sum(), MARGIN, rng.normal(size=dimension)
        )
        near = theta + np.concatenate([np.zeros((1, dimension)), 1e-4 * rng.normal(size=(2000, dimension))])
        found = values(
            partial(_cost, penalty="hinge"), [t[i : i + 1] for t in tables], torch.from_numpy(near)
        )[0].numpy()
        assert cost == pytest.approx(found[0], abs=1e-9)
        assert found.min() >= cost - 1e-9
        assert found[1:].min() < found[1:].max()


def test_from_a_grid_of_starts_it_finds_the_grid_minimum():
    rng = np.random.default_rng(7)
    tables = toy.paired_tables([toy.draw(rng)])
    delta, margin, weights = (t[0].numpy() for t in tables)
    best = min(
        hinge_minimum(margin, delta, weights / weights.sum(), MARGIN, start)[1]
        for start in toy.polar(np.array([0.5, 1.5, 3.0]), 8).numpy()
    )
    fine = values(partial(_cost, penalty="hinge"), tables, toy.polar(np.linspace(0.02, 6.0, 300), 360))
    assert best <= float(fine.min()) + 1e-9


def test_without_any_conflict_the_margin_is_met():
    theta, cost = hinge_minimum([0.0, 1.0], [[1.0], [1.0]], [0.5, 0.5], 2.0, [0.0])
    assert cost == pytest.approx(0, abs=1e-12)
    assert theta[0] >= 2.0 - 1e-9
