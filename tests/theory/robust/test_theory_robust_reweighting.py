"""The density ratio of the worst law and what its upper bound loses, by other roads."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.solvers.robust import kl_worst_case
from distalign.theory.robust import batch_failure, log_looseness, looseness_series, worst_multipliers


def test_multipliers_are_those_of_the_solver_and_of_both_conditions():
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses, p = rng.normal(size=6), rng.dirichlet(np.ones(6))
        radius = rng.uniform(0.01, 0.9) * -np.log(p[losses.argmax()])
        mu, lam = worst_multipliers(losses, p, radius)
        ratio = np.exp((losses - mu - lam) / lam)
        assert p @ ratio == pytest.approx(1, abs=1e-10)
        assert (p * ratio) @ np.log(ratio) == pytest.approx(radius, rel=1e-8)
        assert kl_worst_case(losses, p, radius).multiplier == pytest.approx(lam, rel=1e-7)
        assert log_looseness(losses, p, lam) == pytest.approx(-p @ np.log(ratio), rel=1e-8)
        assert mu + lam >= p @ losses


def test_equal_losses_meet_the_bound_and_have_no_multiplier():
    assert log_looseness([0.3, 0.3], [0.4, 0.6], 0.5) == pytest.approx(0, abs=1e-15)
    with pytest.raises(InputError, match="radius must lie below"):
        worst_multipliers([0.3, 0.3], [0.4, 0.6], 0.1)
    with pytest.raises(InputError, match="radius must lie below"):
        worst_multipliers([0.0, 1.0], [0.5, 0.5], 0.7)


def test_series_is_the_start_of_the_expansion():
    rng = np.random.default_rng(1)
    losses, p = rng.normal(size=5), rng.dirichlet(np.ones(5))
    left = [log_looseness(losses, p, lam) - sum(looseness_series(losses, p, lam)) for lam in (20.0, 40.0)]
    assert left[0] / left[1] == pytest.approx(16, rel=0.1)


def test_failing_batches_are_as_many_as_drawn_ones():
    rng = np.random.default_rng(2)
    losses, p = rng.exponential(size=30), rng.dirichlet(np.ones(30))
    equivalent = 0.7 * np.log(p @ np.exp(losses / 0.7))
    for batch in (1, 2, 7, 40):
        means = losses[rng.choice(30, size=(40_000, batch), p=p)].mean(1)
        share, chance = (means > equivalent).mean(), batch_failure(losses, p, 0.7, batch)
        assert abs(share - chance) < 5 * np.sqrt(chance / 40_000) + 1e-4
    assert batch_failure([1.0, 1.0], [0.5, 0.5], 1.0, 4) == 0
