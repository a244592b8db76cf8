"""Nash mirror descent converges to the solver's policy at lambda = 2 tau, within its guarantee, and to no
other.
"""

from itertools import islice

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import random_intransitive
from distalign.solvers.choice.certified import kl_divergence, normalised
from distalign.solvers.choice.games import regularised_nlhf
from distalign.solvers.choice.nash_md import nash_md, nash_md_iterates

TAU = 0.1


def game(seed, size=8):
    rng = np.random.default_rng(seed)
    return random_intransitive(rng, size, 1.5), normalised(rng.standard_normal(size))


@pytest.mark.parametrize("seed", range(3))
def test_iterates_approach_the_limit_within_the_guarantee(seed):
    win, q = game(seed)
    limit = regularised_nlhf(win, q, 2 * TAU)
    distance = np.array(
        [kl_divergence(limit.log_policy, p) for p in islice(nash_md_iterates(win, q, 2 * TAU), 3000)]
    )
    assert limit.certified
    assert (distance[1:] <= 8 / (TAU**2 * np.arange(1, 3000))).all()
    assert distance[-1] < 1e-6
    assert distance[1000] < distance[100] / 30 < distance[10] / 900


def test_the_limit_belongs_to_twice_the_weight():
    """With lambda = tau in place of 2 tau the iterates stay away: the units matter."""
    win, q = game(3)
    last = nash_md(win, q, 2 * TAU, 3000)
    assert kl_divergence(regularised_nlhf(win, q, 2 * TAU).log_policy, last.log_policy) < 1e-6
    assert kl_divergence(regularised_nlhf(win, q, TAU).log_policy, last.log_policy) > 1e-2


def test_the_certificate_falls_with_the_steps():
    win, q = game(4)
    gains = [nash_md(win, q, 0.2, steps).certificate for steps in (1, 10, 100, 1000)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 1e-5 < gains[0]


def test_one_step_by_hand():
    """At first eta tau = 1: the mixture is the reference, and the step is exp(P q / tau)."""
    win, q = game(5)
    np.testing.assert_allclose(
        nash_md(win, q, 2 * TAU, 1).log_policy, normalised(q + win @ np.exp(q) / TAU), atol=1e-12
    )


def test_bad_arguments_are_named():
    win, q = game(6)
    with pytest.raises(InputError, match="steps"):
        nash_md(win, q, 1.0, 0)
    with pytest.raises(InputError, match="strength"):
        nash_md(win, q, 0.0)
    with pytest.raises(InputError, match="log_reference"):
        nash_md(win, q[1:], 1.0)
