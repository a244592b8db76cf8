"""Every iterative solver ends on hard instances, and says by its own status whether it has solved them."""

import inspect
import random
import re

import numpy as np
import pytest

from distalign import oracles
from distalign.checks import InputError
from distalign.solvers.choice import kl_linear_maximisation
from distalign.solvers.robust import wasserstein_collapse_radius
from tests.robustness.adversarial import Instance, instances, timed
from tests.robustness.generators import ROOMS
from tests.robustness.verdicts import sound
from tests.robustness.walk import public

SECONDS = 20.0  # of the process, on a machine several times slower than that of the slowest case, 5 s
ALL = list(instances())


def failing(drawn: list[Instance]) -> list[str]:
    out = []
    for name, call in drawn:
        found, seconds = timed(call)
        if seconds > SECONDS:
            out.append(f"{name}: {seconds:.1f} s")
        if isinstance(found, Exception) and not isinstance(found, InputError):
            out.append(f"{name}: {type(found).__name__}: {found}")
        elif not isinstance(found, Exception) and not sound(found):
            out.append(f"{name}: NaN without a mark: {found}")
    return out


@pytest.mark.timeout(300)
def test_a_sample_of_hard_instances():
    assert not failing(random.Random(2).sample(ALL, 100))


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_all_hard_instances():
    assert len(ALL) > 1000
    assert not failing(ALL)


CLOSED_FORMS = {
    "batched_newton",  # takes a function; its callers are met
    *("checked_win", "clip_floor", "distortion", "dpo_policy", "euclidean_collapse_radius", "exploitability"),
    *(
        "fit",
        "in_ball",
        "kl_divergence",
        "newton_step",
        "normalised",
        "regularised_gain",
        "require_connected",
    ),
    *("nash_md_iterates", "triangle_excess", "type_grid"),
    *("borda", "borda_scores", "copeland", "copeland_scores", "plurality", "random_dictator"),
    *("population_proportional",),
    *("corrected_reward", "corrected_win"),  # a formula, and reward_mle of what it gives
}
"""Public functions of the solvers that iterate nothing, that stop when their caller does, or that pass on."""


def test_every_solver_meets_hard_instances():
    met = {re.split("[, ]", name)[0] for name, _ in ALL}
    rooms = (public(room) for room in ROOMS)
    functions = {name for room in rooms for name, thing in room.items() if not inspect.isclass(thing)}
    assert functions - met == CLOSED_FORMS


def endless_before(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordinary data on which the constraint generation of the collapse radius had no end."""
    g = np.random.default_rng(seed)
    m, d = int(g.integers(4, 9)), int(g.integers(1, 4))
    v = g.normal(size=(m, d))
    v[m // 2 :] = -v[: m - m // 2]
    p = g.dirichlet(np.ones(m))
    cost = np.linalg.norm(v[:, None] - v, axis=-1)
    cost = (cost + cost.T) / 2
    np.fill_diagonal(cost, 0)
    return v, p, cost


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", [14, 21, 23, 27, 37])
def test_the_collapse_radius_ends(seed):
    v, p, cost = endless_before(seed)
    found = wasserstein_collapse_radius(v, p, cost)
    assert found == pytest.approx(oracles.wasserstein_collapse_radius(v, p, cost), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_the_collapse_radius_scales_with_the_units(unit):
    """The tolerances of the linear program are absolute: at 1e-8 they hid everything."""
    v, p, cost = endless_before(0)
    whole = wasserstein_collapse_radius(v, p, cost)
    assert wasserstein_collapse_radius(unit * v, p, unit * cost) == pytest.approx(unit * whole, rel=1e-6)


def test_small_budgets_are_spent():
    """Of 2,100 budgets from 1e-16 to 1e-8, 92 gave brentq's ValueError; others were not certified."""
    rng = np.random.default_rng(0)
    for k in range(300):
        size = int(rng.integers(2, 12))
        reward, q = rng.normal(size=size), np.log(rng.dirichlet(np.ones(size)))
        for exponent in (-30, -20, -16, -14, -12, -11, -10, -9, -8):
            budget = 10.0**exponent
            found = kl_linear_maximisation(reward, q, budget)
            assert found.certified, (k, budget)
            p = np.exp(q)
            spread = np.sqrt(p @ (reward - p @ reward) ** 2)
            gained = float((np.exp(found.log_policy) - p) @ reward)
            # to first order the gain is sqrt(2 tau Var r)
            if exponent > -20 and np.sqrt(budget) * np.ptp(reward) / spread < 1e-3:
                assert gained == pytest.approx(np.sqrt(2 * budget) * spread, rel=1e-2, abs=1e-15)
