"""The search over many minima: it must find the lowest, certify it, and batch what a loop does one by one."""

from functools import partial

import numpy as np
import torch

from distalign.objectives import aot_unpaired
from distalign.policies import LogLinear
from distalign.simulation.fit import fit
from distalign.simulation.multistart import lowest, values
from distalign.simulation.studies.aot import aot_excess, toy

GRID = toy.polar(np.linspace(0.5, 4.0, 8), 16)


def loss(penalty="least squares"):
    return partial(aot_excess.cost, policy=toy.plane(), objective=aot_excess.OBJECTIVES[penalty])


def test_values_are_those_of_a_loop():
    sample = (
        toy.population().population.thumbs().sample_classes(50, 30, np.random.default_rng(0), replicates=3)
    )
    tables, points = aot_excess.tables(sample), GRID[:5]
    shared = values(loss(), tables, points)
    own = values(loss(), tables, points.expand(3, -1, -1))
    looped = [[float(loss()(point, *(t[r] for t in tables))) for point in points] for r in range(3)]
    np.testing.assert_allclose(shared, looped, rtol=1e-13)
    np.testing.assert_allclose(own, looped, rtol=1e-13)


def test_lowest_agrees_with_the_fit_of_the_simulator():
    law = toy.law()
    found = lowest(loss(), aot_excess.tables(law), GRID, keep=8)
    objective = partial(aot_unpaired, penalty="least_squares", margin=1.0)
    policy = LogLinear(toy.population().features, toy.population().population.reference)
    fitted = fit(policy, objective, law, start=found.theta[0] + 0.01)
    assert bool(found.converged)
    np.testing.assert_allclose(found.theta[0], fitted.theta, atol=1e-8)
    from_the_reference = fit(policy, objective, law)
    assert found.value[0] <= from_the_reference.value + 1e-12


def test_no_point_of_a_fine_grid_is_lower():
    sample = (
        toy.population().population.thumbs().sample_classes(400, 400, np.random.default_rng(1), replicates=8)
    )
    tables = aot_excess.tables(sample)
    found = lowest(loss(), tables, GRID)
    fine = values(loss(), tables, toy.polar(np.linspace(0.05, 5.0, 60), 120))
    assert bool(found.converged.all())
    assert bool((found.value <= fine.min(1).values + 1e-9).all())


def test_a_loss_without_minimum_is_not_converged():
    found = lowest(
        lambda z, a: (-a * z).exp().sum(), [torch.ones(1, 1).double()], torch.zeros(1, 1).double(), keep=1
    )
    assert found.converged.tolist() == [False]
