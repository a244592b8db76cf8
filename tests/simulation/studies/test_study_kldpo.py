"""The KLDPO studies, small: verdicts, and that collapsed replicates are counted and left out."""

import numpy as np
import pytest
from study_kit import failed, rows

from distalign.simulation.studies.robust import kldpo_rate, kldpo_shrinkage

SHRINKAGE = {"temperatures": [0.1, 1.0], "radii": [0.3], "stretches": [2.0], "instances": 1}
RATE = {"sizes": [3000, 40_000, 400_000, 4_000_000], "replicates": 150}


def test_shrinkage_holds():
    found = rows(kldpo_shrinkage.__name__, SHRINKAGE)
    assert not failed(kldpo_shrinkage.checks(found))
    table = kldpo_shrinkage.table(found)
    assert (table.unconverged == 0).all()
    np.testing.assert_allclose(table.factor, table.predicted, atol=1e-6)


def test_rate_is_respected_and_the_constant_predicted():
    found = rows(kldpo_rate.__name__, RATE)
    checks = kldpo_rate.checks(found)
    assert not failed(checks)
    assert checks[0].outcome == "respected, faster than guaranteed"
    table = kldpo_rate.table(found)
    assert (
        table.guaranteed.dropna() > 10 * kldpo_rate.NORM
    ).all()  # the bound with its constants says nothing here
    assert (table.collapse_radius > kldpo_rate.METHODS["ball 0.15"]).all()


def test_collapsed_replicates_are_counted_not_averaged(monkeypatch):
    """Between the collapse radii of small samples and of the population some replicates collapse."""
    monkeypatch.setitem(kldpo_rate.METHODS, "ball 0.15", 0.3)
    found = kldpo_rate.run(np.random.default_rng(0), method="ball 0.15", size=300, replicates=100)
    collapsed = found["collapsed"]
    assert 0 < collapsed.sum() < 100
    assert np.isnan(found["error"][collapsed]).all()
    assert np.isfinite(found["error"][~collapsed]).all()
    found = kldpo_rate.run(np.random.default_rng(0), method="temperature 1", size=300, replicates=10)
    assert np.isfinite(found["error"]).all()


@pytest.mark.parametrize("method", ["DPO", "temperature 0.3", "ball 0.05"])
def test_a_wrong_solution_fails_the_gradient_check(monkeypatch, method):
    fit = kldpo_rate._fit_method

    def biased(method, v, laws):
        found = fit(method, v, laws)
        found.theta[:] *= 1.01
        return found

    monkeypatch.setattr(kldpo_rate, "_fit_method", biased)
    found = kldpo_rate.run(np.random.default_rng(0), method=method, size=10_000, replicates=4)
    assert np.nanmin(found["gradient"]) > 1e-5
