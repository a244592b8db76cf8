"""Limit covariances against influence functions of the solvers, drifts against small radii, coverage against
draws.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import wasserstein_euclidean, wasserstein_finite, wasserstein_replicates
from distalign.solvers.robust.kl_fit import fit_kl_ball
from distalign.theory.robust import kldpo
from distalign.theory.robust import rates as robust_rates
from distalign.theory.robust import schedules as robust_schedules

BETA = 0.8


def drawn(seed):
    """v, law, theta* and distances of a small instance."""
    one = log_linear_bradley_terry(np.random.default_rng(seed), 2, 3, 2, norm=2.0, beta=BETA)
    law, psi = one.population.pairs(distinct=True), one.features.reshape(-1, 2)
    z = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    return (
        psi[law.chosen] - psi[law.rejected],
        law.weights,
        one.theta_star,
        np.linalg.norm(z[:, None] - z, axis=-1),
    )


@pytest.fixture(scope="module")
def instance():
    return drawn(5)


def influence(solve, p, step=1e-7):
    """(m, d) influence of each atom, by central differences of the fitted parameter."""
    theta = solve(np.concatenate([(1 - s) * p + s * np.eye(len(p)) for s in (step, -step)]))
    return (theta[: len(p)] - theta[len(p) :]) / (2 * step)


@pytest.mark.parametrize(("order", "radius", "ties"), [(1, 0.12, 1), (1, 0.35, 2), (2, 0.3, 2)])
def test_transport_limit_is_that_of_the_influence_function(instance, order, radius, ties):
    v, p, _, distance = instance
    cost = distance**order

    def solve(laws):
        return wasserstein_finite.fit_finite(v, laws, cost, radius=radius, order=order, beta=BETA)

    at = solve(p)
    limit = robust_rates.transport_limit(
        v, p, cost, at.theta[0], at.multiplier[0], radius=radius, order=order, beta=BETA
    )
    changes = influence(lambda laws: solve(laws).theta, p)
    assert limit.ties == ties
    np.testing.assert_allclose(
        limit.covariance, changes.T @ (p[:, None] * changes), atol=1e-4 * np.trace(limit.covariance)
    )
    assert np.linalg.matrix_rank(limit.covariance, tol=1e-8) == 3 - ties


def test_three_ties_in_two_dimensions_fix_theta():
    v, p, _, distance = drawn(7)

    def solve(laws):
        return wasserstein_replicates.fit_replicates(v, laws, distance, radius=0.24, beta=BETA)

    at = solve(p)
    limit = robust_rates.transport_limit(
        v, p, distance, at.theta[0], at.multiplier[0], radius=0.24, beta=BETA
    )
    n, draws = int(limit.regime(2.0)), 3000
    assert limit.ties == 3
    assert np.abs(limit.covariance).max() < 1e-12
    theta = solve(np.random.default_rng(1).multinomial(n, p, draws) / n).theta
    off, error = np.mean(np.abs(theta - at.theta).max(1) > 1e-6), 4 * np.sqrt(0.04 * 0.96 / draws)
    assert off == pytest.approx(limit.off_piece(n), abs=error)
    assert off != pytest.approx(limit.off_piece(n / 2), abs=error)  # the same test at a wrong n


def test_transport_limit_refuses_redundant_ties():
    v, p, _, distance = drawn(8)
    at = wasserstein_finite.fit_finite(v, p, distance**2, radius=0.36, order=2, beta=BETA)
    with pytest.raises(InputError, match="more ties than"):
        robust_rates.transport_limit(
            v, p, distance**2, at.theta[0], at.multiplier[0], radius=0.36, order=2, beta=BETA
        )


def test_regime_is_where_the_tightest_margin_is_three_errors_wide():
    limit = robust_rates.TransportLimit(np.eye(2), 1, np.array([400.0, 4.0]), np.eye(2))
    assert limit.regime() == 3600
    assert limit.off_piece(3600) == pytest.approx(
        0.00135, abs=1e-5
    )  # one normal tail beyond three deviations


@pytest.mark.parametrize(("radius", "ties"), [(0.12, 1), (0.35, 2)])
def test_margins_are_those_of_the_influence_functions_of_slacks_and_splits(instance, radius, ties):
    """Each margin of the dual's piece by central differences of the fits to the law moved towards an atom."""
    v, p, _, cost = instance

    def margins(at, row):
        """Slacks of moves that do not pay, mass that goes to ties, and mass that splitting atoms keep."""
        losses = np.logaddexp(0, -BETA * v @ at.theta[row])
        worth = losses - at.multiplier[row] * cost
        slack = worth.max(1)[:, None] - worth
        law = laws[row]
        arrived = at.worst_case[row] - np.bincount(base, law, len(p))
        split = np.linalg.lstsq(exchange, arrived, rcond=None)[0]
        kept = [law[a] - split[sources == a].sum() for a in np.unique(sources)]
        return np.r_[slack[~tied], split, kept]

    step = 1e-6
    laws = np.concatenate([[p], *((1 - s) * p + s * np.eye(len(p)) for s in (step, -step))])
    at = wasserstein_finite.fit_finite(v, laws, cost, radius=radius, beta=BETA)
    worth = np.logaddexp(0, -BETA * v @ at.theta[0]) - at.multiplier[0] * cost
    slack = worth.max(1)[:, None] - worth
    base, tied = slack.argmin(1), slack < 1e-5
    sources, targets = np.nonzero(tied & (np.arange(len(p)) != base[:, None]))
    exchange = (np.eye(len(p))[targets] - np.eye(len(p))[base[sources]]).T
    assert len(sources) == ties
    middle, *moved = (margins(at, row) for row in range(len(laws)))
    moved = np.array(moved)
    change = (moved[: len(p)] - moved[len(p) :]) / (2 * step)
    expected = p @ change**2 / middle**2
    found = robust_rates.transport_limit(
        v, p, cost, at.theta[0], at.multiplier[0], radius=radius, beta=BETA
    ).margins
    np.testing.assert_allclose(found, np.sort(expected[expected > 1e-9])[::-1], rtol=1e-2)


def test_transport_limit_refuses_what_is_no_optimum(instance):
    v, p, star, distance = instance
    with pytest.raises(InputError, match="no optimum of this ball"):
        robust_rates.transport_limit(v, p, distance, star, 0.3, radius=0.1, beta=BETA)


@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_euclidean_covariance_is_that_of_the_influence_function(instance, radius):
    v, p, _, _ = instance

    def solve(laws):
        return wasserstein_euclidean.fit_euclidean(v, laws, radius=radius, beta=BETA)

    at = solve(p)
    changes = influence(lambda laws: solve(laws).theta, p, step=1e-6)
    found = robust_rates.euclidean_covariance(v, p, at.theta[0], at.multiplier[0], radius=radius, beta=BETA)
    np.testing.assert_allclose(found, changes.T @ (p[:, None] * changes), rtol=1e-5)
    with pytest.raises(InputError, match="too small for the inner problem"):
        robust_rates.euclidean_covariance(
            v, p, 10 * at.theta[0], at.multiplier[0] / 10, radius=radius, beta=BETA
        )


@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_the_root_of_the_equations_is_the_robust_optimum(instance, radius):
    v, p, star, _ = instance
    found = wasserstein_euclidean.fit_euclidean(v, p, radius=radius, beta=BETA)
    theta, multiplier = robust_rates.euclidean_optimum(v, p, star, radius=radius, beta=BETA)
    np.testing.assert_allclose(theta, found.theta[0], atol=1e-9)
    assert multiplier == pytest.approx(found.multiplier[0], rel=1e-9)


def test_no_root_is_refused_beyond_collapse(instance):
    v, p, star, _ = instance
    with pytest.raises(InputError, match="no optimum was found"):
        robust_rates.euclidean_optimum(v, p, star, radius=2 * np.linalg.norm(p @ v), beta=BETA)


def test_influences_have_mean_0_and_the_limit_covariance(instance):
    v, p, star, _ = instance
    shrunk = star / 2  # the temperature is 1
    found = kldpo.temperature_influence(v, p, shrunk, 1.0, BETA)
    np.testing.assert_allclose(p @ found, 0, atol=1e-12)
    np.testing.assert_allclose(
        found.T @ (p[:, None] * found), kldpo.temperature_covariance(v, p, shrunk, 1.0, BETA), rtol=1e-9
    )


def test_kl_drift_is_the_small_radius_end_of_shrinkage(instance):
    v, p, star, _ = instance
    drift = robust_schedules.kl_drift(v, p, star, BETA)
    variance = np.cov(np.logaddexp(0, -BETA * v @ star), aweights=p, ddof=0)
    np.testing.assert_allclose(drift, -np.sqrt(2 / variance) * star, rtol=1e-10)
    np.testing.assert_allclose(
        (fit_kl_ball(v, p, radius=1e-8, beta=BETA).theta[0] - star) / 1e-4, drift, rtol=1e-3
    )


def test_euclidean_drift_is_that_of_a_small_ball(instance):
    v, p, star, _ = instance
    found = wasserstein_euclidean.fit_euclidean(v, p, radius=1e-4, beta=BETA).theta[0]
    np.testing.assert_allclose(
        (found - star) / 1e-4, robust_schedules.euclidean_drift(v, p, star, BETA), rtol=1e-3
    )


@pytest.mark.parametrize("order", [1, 2])
def test_transport_drift_is_that_of_a_small_ball_and_no_other(order):
    v, p, star, distance = drawn(7)
    cost = distance**order
    drift, last = robust_schedules.transport_drift(v, p, cost, star, BETA)

    def measured(budget):
        found = wasserstein_finite.fit_finite(
            v, p, cost, radius=budget ** (1 / order), order=order, beta=BETA
        ).theta[0]
        return (found - star) / budget

    np.testing.assert_allclose(measured(0.01 * last), drift, rtol=0.02)
    assert np.abs(measured(5 * last) / drift - 1).max() > 0.05  # the mass of the best move is used up


def test_kl_coverage_is_the_share_of_balls_that_hold_the_truth(instance):
    _, p, _, _ = instance
    n, draws = 10**6, 4000
    laws = np.random.default_rng(1).multinomial(n, p, draws) / n
    divergence = (p * np.log(p / laws)).sum(1)
    for level in (0.5, 0.95):
        radius = robust_schedules.covering_radius(n, len(p), level)
        error = 4 * np.sqrt(level * (1 - level) / draws)
        assert np.mean(divergence <= radius) == pytest.approx(level, abs=error)
        assert np.mean(divergence <= radius) != pytest.approx(
            robust_schedules.kl_coverage(n, radius, len(p) + 3), abs=error
        )
