"""Finite-sample facts of AOT by a second road: beta laws by quadrature, lattice paths by counting, order
statistics.
"""

import numpy as np
import pytest
from scipy import integrate, special, stats

from distalign.checks import InputError
from distalign.theory.aot.finite_samples import (
    batch_bias_constant,
    explicit_bound,
    false_violation,
    false_violation_decay,
    learned_spread,
    null_hinge_exact,
    order_variance,
    sorted_bias,
)
from distalign.theory.aot.transport import null_squared_hinge


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_expectations_at_equal_laws_are_sums_over_beta_laws(n):
    ranks = [stats.beta(i, n + 1 - i) for i in range(1, n + 1)]
    hinge = np.mean([integrate.quad(lambda x, law=law: law.cdf(x) * law.sf(x), 0, 1)[0] for law in ranks])
    assert null_hinge_exact(n) == pytest.approx(hinge, rel=1e-9)
    assert null_squared_hinge(n) == pytest.approx(np.mean([law.var() for law in ranks]), rel=1e-12)


def test_hinge_approaches_its_first_order():
    assert null_hinge_exact(10_000) == pytest.approx(np.sqrt(np.pi / 10_000) / 8, rel=1e-4)
    assert null_hinge_exact(10) != pytest.approx(np.sqrt(np.pi / 10) / 8, rel=1e-2)


def paths_below_zero(start, up, down):
    """Share of the orders of `up` and `down` steps from `start` that pass below 0, by counting those that do
    not.
    """
    ways = {(0, 0): 1}
    for i in range(up + 1):
        for j in range(down + 1):
            if (i, j) != (0, 0):
                before = ways.get((i - 1, j), 0) + ways.get((i, j - 1), 0)
                ways[i, j] = before if start + i - j >= 0 else 0
    return 1 - ways[up, down] / special.comb(up + down, up)


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.25, 0.7])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_chance_of_a_false_violation_by_counting_paths(n, gap):
    chance = stats.binom(n, gap).pmf
    counted = sum(
        chance(k) * chance(m) * paths_below_zero(k, n - k, n - m) for k in range(n + 1) for m in range(n + 1)
    )
    assert false_violation(n, gap) == pytest.approx(counted, rel=1e-9)


def test_false_violation_decays_at_its_rate():
    ratio = false_violation(4000, 0.25) / false_violation(4001, 0.25)
    assert np.log(ratio) == pytest.approx(false_violation_decay(0.25), rel=1e-4)


def test_order_variance_of_normals():
    """Expected extremes of two and three normals are 1/sqrt(pi) and 3/(2 sqrt(pi))."""
    assert order_variance("normal", 1) == pytest.approx(1, abs=1e-12)
    assert order_variance("normal", 2) == pytest.approx(1 - 1 / np.pi, abs=1e-9)
    assert order_variance("normal", 3) == pytest.approx(1 - 2 / 3 * (1.5 / np.sqrt(np.pi)) ** 2, abs=1e-9)
    with pytest.raises(InputError, match="law"):
        order_variance("cauchy", 2)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_order_variance_of_uniforms_is_that_of_beta_laws(batch):
    variances = [stats.beta(i, batch + 1 - i).var() for i in range(1, batch + 1)]
    assert order_variance("uniform", batch) == pytest.approx(12 * np.mean(variances), rel=1e-12)


def test_bias_constant_is_the_limit_of_the_exact_law():
    constant = batch_bias_constant(lambda x: np.full_like(x, 2.0), 0.3, 0.6, 1.1)
    assert constant == pytest.approx(10**6 * 2 * 0.6 * 1.1 * order_variance("uniform", 10**6), rel=1e-5)


def test_learned_spread_minimises_the_expected_value():
    """s^2 + s'^2 - 2 s s' E(mean of sorted products), whose expectation is the mean of squared expected order
    statistics.
    """
    b, reference = 6, 1.3
    means = np.sqrt(12) * (np.arange(1, b + 1) / (b + 1) - 0.5)
    spreads = np.linspace(0, 2, 20_001)
    values = spreads**2 - 2 * spreads * reference * np.mean(means**2)
    assert learned_spread(reference, b) == pytest.approx(spreads[values.argmin()], abs=1e-4)


def test_explicit_bound_of_a_coin_is_the_envelope():
    assert explicit_bound(25, 3.0, 2.0, 2.0) == pytest.approx(2 * 3.0 * 2.0 / 5)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_sorted_bias_is_that_of_drawn_batches(batch):
    def penalty(x):
        return np.logaddexp(0, -2 * x)

    rng = np.random.default_rng(batch)
    z, ref = (np.sort(np.sqrt(12) * (rng.random((400_000, batch)) - 0.5), axis=1) for _ in range(2))
    values = penalty(0.3 + 0.6 * z - ref).mean(1)
    t = (np.arange(10_000) + 0.5) / 10_000
    cost = penalty(0.3 - 0.4 * np.sqrt(12) * (t - 0.5)).mean()
    error = values.std() / np.sqrt(len(values))
    assert sorted_bias(penalty, 0.3, 0.6, 1.0, batch) == pytest.approx(values.mean() - cost, abs=4 * error)
