"""Closed forms of f-regularised optima against the conic program."""

import numpy as np
import pytest

from distalign.oracles.regularised import regularised_optimum
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import chi2_threshold, reverse_kl_optimum, total_variation_optimum


@pytest.fixture
def problems():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 7)), 0.9 * rng.dirichlet(np.ones(7), 6) + 0.1 / 7


@pytest.mark.parametrize("beta", [1.5, 0.4])
@pytest.mark.parametrize(
    ("name", "closed_form"),
    [("reverse_kl", reverse_kl_optimum), ("total_variation", total_variation_optimum)],
)
def test_closed_forms(problems, beta, name, closed_form):
    reward, ref = problems
    oracle = np.stack([regularised_optimum(r, q, beta, name) for r, q in zip(reward, ref, strict=True)])
    np.testing.assert_allclose(closed_form(reward, ref, beta), oracle, atol=1e-6)


def test_chi2_drops_a_response_exactly_below_the_threshold(problems):
    reward, ref = problems
    threshold = chi2_threshold(reward, ref)
    for r, q, beta in zip(reward, ref, threshold, strict=True):
        above = regularised_policy(r, q, float(beta) * 1.001, "chi2")
        assert above.policy.min() > 0
        np.testing.assert_allclose(above.policy / q, 1 + (r - q @ r) / (2.002 * beta), atol=1e-10)
        assert regularised_policy(r, q, float(beta) * 0.999, "chi2").policy.min() == 0
