"""Curvature against autograd, shares against samples, largest gradients against a search over vertices."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from distalign.objectives import ddro, rdro, sft
from distalign.policies import Tabular, score
from distalign.theory.density_ratio.failures import (
    METHODS,
    curvature,
    infinite_ratio_share,
    largest_step,
    norm_bounds,
)

LOSSES = {
    "SFT": lambda t: sft,
    "RDRO": lambda t: partial(rdro, alpha=t),
    "DDRO": lambda t: partial(ddro, prior=t),
}
REFERENCE, ACCEPTANCE = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.9, 0.1, 0.6, 0.3])


@pytest.mark.parametrize("method", METHODS)
def test_curvature_is_the_hessian_of_the_objective(method):
    t = float(REFERENCE @ ACCEPTANCE)
    loss = LOSSES[method](t)
    up, down = REFERENCE * ACCEPTANCE / t, REFERENCE * (1 - ACCEPTANCE) / (1 - t)
    atoms = torch.arange(4)

    def value(theta):
        return loss(score(Tabular(REFERENCE), theta, atoms, atoms, torch.tensor(up), torch.tensor(down)))

    found = torch.autograd.functional.hessian(value, torch.tensor(np.log(up / REFERENCE)))
    np.testing.assert_allclose(curvature(method, REFERENCE, ACCEPTANCE), found, atol=1e-12)


def test_ddros_step_shrinks_with_overlap_and_rdros_does_not():
    """One response is hardly ever rejected: its p+/p- is q / (1 - q) at t = 1/2."""
    reference = np.array([0.2, 0.4, 0.4])
    steps = {m: [] for m in METHODS}
    for rejected in (0.1, 0.01, 0.001):
        q = np.array([1 - rejected, 0.5, 0.0])
        q[2] = (0.5 - reference[:2] @ q[:2]) / reference[2]
        for m in METHODS:
            steps[m].append(largest_step(m, reference, q))
        # RDRO's weight is at most 1 / (1 + alpha)
        scores = np.eye(3) - reference * q / 0.5
        everywhere = np.linalg.eigvalsh((scores.T * reference) @ scores)[-1] / 1.5
        assert steps["RDRO"][-1] >= 2 / everywhere
    assert steps["DDRO"][1] / steps["DDRO"][2] == pytest.approx(10, rel=0.05)
    assert max(steps["RDRO"]) / min(steps["RDRO"]) < 1.2


def test_share_of_infinite_ratios_is_that_of_poisson_counts():
    up, down = np.array([3.0, 0.5, 8.0]), np.array([1.0, 4.0, 6.0])
    rng = np.random.default_rng(0)
    chosen, rejected = rng.poisson(up, (200_000, 3)), rng.poisson(down, (200_000, 3))
    share = ((chosen > 0) & (rejected == 0)).any(1).mean()
    assert infinite_ratio_share(up, down) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_the_largest_gradients_are_at_vertices(t):
    """Coefficients at their ends, policies at one response, chosen and rejected responses any of four."""
    steep = (1 - t) * 0.95 / 0.05
    ends = {
        "SFT": ((-1,), (0,)),
        "RDRO": ((-1, t), (0, 1 - t)),
        "squash": ((-t, 0), (0, 1 - t)),
        "floor": ((-t,), (0, steep)),
    }
    e, found = np.eye(4), norm_bounds(t, 0.05)
    for name, (chosen, rejected) in ends.items():
        largest = max(
            np.linalg.norm(c * (e[y] - e[at]) + d * (e[z] - e[at]))
            for c, d, y, z, at in product(chosen, rejected, range(4), range(4), range(4))
        )
        assert found[name] == pytest.approx(largest)
    assert found["linear_log_ratio"] == found["floor"]
