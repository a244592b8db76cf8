"""wdpo_rate and dro_radius_schedule, small: what is counted, and what a wrong theory fails."""

import dataclasses

import numpy as np
import pytest
from study_kit import failed, rows

from distalign.simulation.studies.robust import dro_radius_schedule, wdpo_rate

RATE = {"sizes": [1000, 10_000, 100_000, 1_000_000, 100_000_000], "replicates": 40}
LATE = {"sizes": [10**8, 10**10, 10**11, 10**12], "replicates": 8, "limit_draws": 200}


@pytest.fixture(scope="module")
def rate_rows():
    return rows(wdpo_rate.__name__, RATE)


def test_a_wrong_constant_is_seen(rate_rows):
    names = {c.name for c in wdpo_rate.checks(rate_rows) if "sandwich" in c.name}
    wrong = wdpo_rate.checks(rate_rows.assign(predicted=1.04 * rate_rows.predicted))
    assert names <= failed(wrong)
    assert not names & failed(wdpo_rate.checks(rate_rows))


def test_the_trap_is_a_decade_about_the_guaranteed_slope_and_the_end_is_not(rate_rows):
    trap = wdpo_rate.table(rate_rows).query("setting == @wdpo_rate.TRAP").set_index("size")
    assert trap.local[100_000] == pytest.approx(-0.25, abs=0.12)
    assert trap.local[100_000_000] == pytest.approx(-0.5, abs=0.12)
    assert not trap.fitted[100_000]
    assert trap.fitted[1_000_000]


def test_radii_lie_below_collapse_and_collapsed_replicates_are_counted():
    for name, setting in wdpo_rate.SETTINGS.items():
        assert setting.radius < 0.75 * wdpo_rate.limit(setting).collapse_radius, name
    found = wdpo_rate.run(np.random.default_rng(0), setting=wdpo_rate.CORNER, size=50, replicates=100)
    assert 0 < found["collapsed"].sum() < 100
    assert np.isnan(found["error"][found["collapsed"]]).all()
    assert np.isfinite(found["error"][~found["collapsed"]]).all()
    assert not found["failed"].any()


def test_law_and_coverage_see_a_wrong_theory():
    found = rows(dro_radius_schedule.__name__, LATE)
    checks = dro_radius_schedule.checks(found)
    assert not {
        n for n in failed(checks) if "distance" not in n
    }  # eight draws are few for an exponent of -1/2
    laws = {f"{name}: drift and noise" for name in dro_radius_schedule.SCHEDULES}
    assert laws <= failed(dro_radius_schedule.checks(found.assign(predicted=1.04 * found.predicted)))
    shifted = found.assign(predicted_coverage=0.5 * found.predicted_coverage)
    assert any("coverage" in n for n in failed(dro_radius_schedule.checks(shifted)))


def test_covering_radii_are_those_of_the_gaussian_limit():
    for schedule in dro_radius_schedule.SCHEDULES.values():
        if schedule.scale in (1.34, 2.5, 1.7, dro_radius_schedule.COVERING):
            assert dro_radius_schedule.coverage_limit(schedule, 1e9, 1000) == pytest.approx(0.95, abs=0.015)
    half = dataclasses.replace(dro_radius_schedule.SCHEDULES["W1 finite, 2.5 n^-0.5"], scale=1.25)
    assert dro_radius_schedule.coverage_limit(half, 1e9, 1000) < 0.1
