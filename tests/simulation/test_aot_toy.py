"""The toy that AOT's studies share says the same by every road."""

from functools import partial

import numpy as np
import pytest
import torch

from distalign.policies import LogLinear, score
from distalign.simulation.multistart import values
from distalign.simulation.studies.aot import aot_excess, toy

THETA = torch.tensor([0.7, -1.9], dtype=torch.float64)


def test_rim_is_the_plane_at_its_radius():
    angle = torch.tensor([2.0], dtype=torch.float64)
    on_plane = toy.plane().log_probs(toy.RADIUS * torch.cat([angle.cos(), angle.sin()]))
    torch.testing.assert_close(toy.Rim(toy.plane(), toy.RADIUS).log_probs(angle), on_plane)
    assert toy.polar(np.array([2.0]), 4).norm(dim=1).tolist() == pytest.approx([2.0] * 4)


def test_linear_margins_are_those_of_the_policy():
    instance = toy.draw(np.random.default_rng(5))
    delta, margin, weights = (t[0] for t in toy.paired_tables([instance]))
    pairs = instance.population.pairs(distinct=True)
    batch = score(
        LogLinear(instance.features, instance.population.reference),
        THETA,
        *map(torch.from_numpy, (pairs.chosen, pairs.rejected, pairs.weights)),
    )
    torch.testing.assert_close(margin + delta @ THETA, batch.margin)
    torch.testing.assert_close(weights, batch.chosen_frequencies)


def test_unpaired_batch_is_that_of_the_policy():
    instance = toy.draw(np.random.default_rng(5))
    law = instance.population.thumbs().law()
    batch = toy.unpaired_batch(THETA, *(t[0] for t in toy.unpaired_tables([instance])))
    scored = score(
        LogLinear(instance.features, instance.population.reference),
        THETA,
        *map(torch.from_numpy, (law.chosen, law.rejected, law.weights, law.rejected_weights)),
    )
    torch.testing.assert_close(batch.chosen_ratio, scored.chosen_ratio)
    torch.testing.assert_close(batch.chosen_frequencies, scored.chosen_frequencies)
    torch.testing.assert_close(batch.rejected_frequencies, scored.rejected_frequencies)


@pytest.mark.parametrize("penalty", ["squared hinge", "logistic"])
def test_the_minimum_over_the_ball_lies_on_its_rim(penalty):
    loss = partial(aot_excess.cost, policy=toy.plane(), objective=aot_excess.OBJECTIVES[penalty])
    inside = values(loss, aot_excess.tables(toy.law()), toy.polar(np.linspace(0.0, toy.RADIUS, 61), 180))[0]
    assert aot_excess.optimum(penalty, 1).value <= float(inside.min()) + 1e-9
    assert int(inside.argmin()) >= 180 * 60


def test_the_least_squares_minimum_is_isolated():
    loss = partial(aot_excess.cost, policy=toy.plane(), objective=aot_excess.OBJECTIVES["least squares"])
    truth, grid = aot_excess.optimum("least squares", 1), toy.polar(np.linspace(0.0, 5.0, 101), 180)
    found = values(loss, aot_excess.tables(toy.law()), grid)[0]
    near = (grid - truth.theta).norm(dim=1) < 0.7
    assert truth.value <= float(found.min()) + 1e-9
    assert float(found[~near].min()) > truth.value + 0.02


def test_the_excess_is_not_rounded_away_at_the_largest_sample():
    """It is 5e-8 of a cost of about 0.5: float32 would leave a handful of values, some of them negative."""
    rng = np.random.default_rng(0)
    rows = aot_excess.run(rng, penalty="logistic", size=1_638_400, ratio=1, replicates=20)
    assert len(set(rows["excess"])) == 20
    assert min(rows["excess"]) > 0
