"""The chi-squared optimum at and below its threshold, and the calibration bound with its constant."""

from __future__ import annotations

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.divergences import divergence
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import (
    calibration_bound,
    chi2_interior_optimum,
    chi2_optimum,
    chi2_threshold,
)

RNG = np.random.default_rng(0)
REWARD, REF = RNG.normal(size=(300, 7)), 0.9 * RNG.dirichlet(np.ones(7), 300) + 0.1 / 7


@pytest.mark.parametrize("beta", [0.02, 0.3, 1.0, 4.0])
def test_chi2_optimum_by_sorting_is_the_stationarity_solver_s(beta):
    found, solved = chi2_optimum(REWARD, REF, beta), regularised_policy(REWARD, REF, beta, "chi2").policy
    np.testing.assert_allclose(found, solved, atol=1e-12)
    np.testing.assert_array_equal(found == 0, solved == 0)


def test_chi2_drops_below_its_threshold_and_not_above():
    threshold = chi2_threshold(REWARD, REF)
    for r, q, t in zip(REWARD[:50], REF, threshold, strict=False):
        assert (chi2_optimum(r, q, 0.999 * t) == 0).sum() == 1
        assert (chi2_optimum(r, q, 1.001 * t) > 0).all()
        np.testing.assert_allclose(
            chi2_interior_optimum(r, q, 1.001 * t), chi2_optimum(r, q, 1.001 * t), atol=1e-14
        )


def test_closed_form_below_the_threshold_is_refused_with_the_threshold():
    with pytest.raises(
        InputError,
        match=r"beta must be above .* = 0\.25 for the chi-squared optimum .* got 0\.25: raise beta",
    ):
        chi2_interior_optimum([0.0, 1.0], [0.5, 0.5], 0.25)


@pytest.mark.parametrize(
    "name",
    [
        "reverse_kl",
        "forward_kl",
        "alpha:0.3",
        "alpha:0.9",
        "jensen_shannon",
        "squared_hellinger",
        "jeffreys",
        "chi2_plus_kl",
        "chi2",
    ],
)
def test_calibration_bound_holds_and_no_smaller_constant_does(name):
    f, rng = divergence(name), np.random.default_rng(3)
    q = 0.98 * rng.dirichlet(np.ones(4), 20_000) + 0.005
    p = q * np.exp(np.exp(rng.uniform(-8, 1.5, (20_000, 1))) * rng.normal(size=q.shape))
    p /= p.sum(1, keepdims=True)
    limit, distance = calibration_bound((q * f.f(p / q)).sum(1), f.curvature), np.abs(p - q).sum(1)
    assert (distance <= limit * (1 + 1e-4)).all()
    assert (distance > 0.97 * limit).any()
