"""Each verdict says what it may, and each is seen to fail once."""

import numpy as np
import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.simulation import verdict
from distalign.simulation.rates import log_slope


def power_law(exponent, noise=0.2, sizes=(100, 200, 400, 800, 1600), replicates=200, seed=0):
    rng = np.random.default_rng(seed)
    n = np.repeat(np.array(sizes, float), replicates)
    return pd.DataFrame({"size": n, "error": n**exponent * rng.lognormal(0, noise, n.size)})


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        (verdict.identity("x", [0.0, 1e-12], 1e-9), "holds"),
        (verdict.identity("x", [0.0, 1e-6], 1e-9), "fails"),
        (verdict.identity("x", [np.nan], 1e-9), "fails"),
        (verdict.identity("x", [], 1e-9), "fails"),
        (verdict.differs("x", [0.0, 0.3], 0.1), "differs as predicted"),
        (verdict.differs("x", [0.0, 0.01], 0.1), "does not differ"),
        (verdict.differs("x", [np.nan], 0.1), "does not differ"),
        (verdict.bound("x", [1.0, 2.0], [1.5, 2.0]), "not violated"),
        (verdict.bound("x", [1.0, 2.1], [1.5, 2.0]), "violated"),
        (verdict.bound("x", [np.nan], [1.5]), "violated"),
        (verdict.bound("x", [1.0], [2.0], vacuous=[True]), "vacuous"),
        (verdict.separation("x", [0.1, 0.2, 0.15, 0.12]), "shown"),
        (verdict.separation("x", [0.1, -0.2, 0.15, -0.12]), "not shown"),
        (verdict.separation("x", [0.1, np.nan]), "not shown"),
        (verdict.growth("x", [1.0, 2.0], [1.0, 2.02], 0.02), "follows"),
        (verdict.growth("x", [1.0, 2.0], [1.0, 2.2], 0.02), "does not follow"),
    ],
)
def test_outcome(check, outcome):
    assert check.outcome == outcome
    assert check.passed == (outcome in {"holds", "differs as predicted", "not violated", "shown", "follows"})


@pytest.mark.parametrize(
    ("exponent", "kwargs", "outcome"),
    [
        (-0.5, {"guarantee": -0.25}, "respected, faster than guaranteed"),
        (-0.25, {"guarantee": -0.25}, "respected"),
        (0.0, {"guarantee": -0.25}, "not respected"),
        (-0.5, {"matches": -0.5}, "matches -0.5"),
        (-0.4, {"matches": -0.5}, "does not match -0.5"),
    ],
)
def test_rate_words(exponent, kwargs, outcome):
    check = verdict.rate("x", power_law(exponent), **kwargs)
    assert check.outcome == outcome
    assert check.low < exponent < check.high


def test_a_wide_interval_matches_nothing():
    few = power_law(-0.5, noise=2.0, replicates=5)
    assert not verdict.rate("x", few, matches=-0.5, margin=0.05).passed


def test_slope_interval_covers_at_its_level():
    inside = [
        s.low <= -0.5 <= s.high
        for s in (
            log_slope(*power_law(-0.5, 0.5, replicates=60, seed=k).to_numpy().T, seed=k) for k in range(400)
        )
    ]
    assert 388 <= sum(inside) < 400


def test_rms_and_local_slopes():
    n = np.repeat([10.0, 100.0, 1000.0], 2)
    s = log_slope(n, np.where(n < 500, n**-0.5, 100**-0.5 / 10), aggregate="rms")
    assert s.local == pytest.approx((-0.5, -1.0))


def test_excluded_rows_are_counted():
    rows = power_law(-0.5)
    rows.loc[::100, "error"] = np.nan
    assert verdict.rate("x", rows, matches=-0.5).excluded == 10


def test_too_few_sizes_and_zero_errors_are_refused():
    with pytest.raises(InputError, match="three sample sizes"):
        log_slope(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    with pytest.raises(InputError, match="exactly zero"):
        log_slope(np.array([1.0, 2.0, 3.0]), np.zeros(3))


def test_one_failing_check_fails_the_claim_and_speaks_for_it():
    good, bad = verdict.identity("a", [0.0], 1e-9), verdict.bound("b", [2.0], [1.0])
    assert verdict.judge("identity", [good]).passed
    judged = verdict.judge("identity", [good, bad])
    assert (judged.passed, judged.outcome) == (False, "violated")
