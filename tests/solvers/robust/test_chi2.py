"""The worst law of a chi-square ball, its fits and its collapse radius against programs and formulas."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from distalign.checks import InputError
from distalign.objectives import chi2_dpo
from distalign.oracles import chi2_ball_fit, chi2_ball_value
from distalign.populations import log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs
from distalign.solvers.robust import (
    CollapseWarning,
    chi2_collapse_radius,
    chi2_worst_case,
    fit_chi2_ball,
    kl_worst_case,
)


def divergence(q, p):
    kept = p > 0
    return 0.5 * p[kept] @ (q[kept] / p[kept] - 1) ** 2


def problem(rng, ties=False, missing=False):
    m = int(rng.integers(3, 10))
    losses, p = rng.exponential(size=m), rng.dirichlet(np.ones(m))
    if ties:
        losses = losses.round(0)
    if missing:
        p[0] = 0
    return losses, p / p.sum()


@pytest.mark.parametrize("radius", [1e-4, 0.03, 0.4, 3.0])
@pytest.mark.parametrize("kind", [{}, {"ties": True}, {"missing": True}])
def test_value_law_and_objective_against_the_conic_program(radius, kind):
    rng = np.random.default_rng(0)
    for _ in range(5):
        losses, p = problem(rng, **kind)
        worst = chi2_worst_case(losses, p, radius)
        assert worst.value == pytest.approx(chi2_ball_value(losses, p, radius), abs=2e-7)
        assert worst.weights @ losses == pytest.approx(worst.value, rel=1e-10)
        assert divergence(worst.weights, p) <= radius * (1 + 1e-9)
        margins = torch.tensor(-np.log(np.expm1(losses + 0.01)))
        zero = torch.zeros_like(margins)
        batch = PreferenceLogProbs(margins, zero, zero, zero, weights=torch.tensor(p), validate=False)
        assert chi2_dpo(batch, beta=1.0, radius=radius).item() == pytest.approx(worst.value + 0.01, rel=1e-9)


def test_the_form_with_the_standard_deviation_ends_where_a_weight_reaches_0():
    losses, p = np.array([0.0, 1.0, 3.0]), np.array([0.2, 0.5, 0.3])
    mean, deviation = p @ losses, np.sqrt(p @ losses**2 - (p @ losses) ** 2)
    edge = (deviation / mean) ** 2 / 2  # the best loss is 0
    for share, gap in ((0.5, 0.0), (1.0, 0.0), (1.5, 1e-3)):
        law = chi2_worst_case(losses, p, share * edge)
        assert mean + np.sqrt(2 * share * edge) * deviation - law.value >= gap - 1e-12
        assert (law.weights[0] > 1e-12) == (share < 1)
        if not gap:
            assert law.value == pytest.approx(mean + np.sqrt(2 * share * edge) * deviation, rel=1e-12)


def test_a_small_ball_is_a_kl_ball_and_replicates_are_rows():
    rng = np.random.default_rng(1)
    losses, p = rng.exponential(size=(4, 7)), rng.dirichlet(np.ones(7), size=4)
    whole = chi2_worst_case(losses, p, 1e-6)
    assert whole.value == pytest.approx(kl_worst_case(losses, p, 1e-6).value, rel=1e-5)
    for i in range(4):
        assert chi2_worst_case(losses[i], p[i], 1e-6).value == pytest.approx(whole.value[i], rel=1e-14)


def atoms(rng):
    instance = log_linear_bradley_terry(rng, 3, 3, 3, norm=2.5, beta=0.8)
    law, flat = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    return flat[law.chosen] - flat[law.rejected], law.weights


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_fits_against_the_conic_program(share):
    rng = np.random.default_rng(2)
    for _ in range(4):
        v, p = atoms(rng)
        radius = share * chi2_collapse_radius(v, p)[0]
        found = fit_chi2_ball(v, p[None], radius=radius, beta=0.8)
        theta, value = chi2_ball_fit(v, p, radius=radius, beta=0.8)
        assert found.solved.all()
        assert not found.collapsed.any()
        assert found.theta[0] == pytest.approx(theta, abs=1e-5)
        assert found.value[0] == pytest.approx(value, abs=1e-9)


def test_the_collapse_radius_against_a_quadratic_program():
    rng = np.random.default_rng(3)
    for _ in range(5):
        v, p = atoms(rng)
        ratio = cp.Variable(len(p), nonneg=True)
        nearest = cp.Problem(
            cp.Minimize(0.5 * cp.sum(cp.multiply(p, cp.square(ratio - 1)))),
            [p @ ratio == 1, (p[:, None] * v).T @ ratio == 0],
        ).solve(solver=cp.CLARABEL)
        assert chi2_collapse_radius(v, p)[0] == pytest.approx(nearest, rel=1e-6)
        above = fit_chi2_ball(v, p[None], radius=1.001 * nearest)
        assert above.collapsed.all()
        assert (above.theta == 0).all()
    assert chi2_collapse_radius([[1.0], [2.0]], [0.5, 0.5]).tolist() == [np.inf]
    with pytest.warns(CollapseWarning, match="collapse radius 0.888889"):
        fit_chi2_ball([[1.0], [-1.0]], [0.9, 0.1], radius=1.0)


def test_separable_data_have_no_minimiser():
    assert not fit_chi2_ball([[1.0], [2.0]], [[0.5, 0.5]], radius=0.1).solved.any()


def test_bad_radius():
    with pytest.raises(InputError, match="radius"):
        chi2_worst_case([0.0, 1.0], [0.5, 0.5], 0.0)
    with pytest.raises(InputError, match="one probability for each atom"):
        chi2_worst_case([0.0, 1.0], [1.0], 0.1)
