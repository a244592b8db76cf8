"""The first claims of density ratios, small: what their tables say."""

import importlib

import numpy as np
import pytest
from study_kit import found, study


def test_a_mean_over_examples_can_be_worse_than_no_training():
    table = study("ratio_reduction").table(found("ratio_reduction"))
    limits = table[table["size"] == 0].set_index(["method", "prior"])
    assert limits.loc[("batch_mean", 0.3), "limit"] > limits.loc[("batch_mean", 0.3), "reference"]
    assert not limits.loc[("batch_mean", 0.3), "solved"]
    assert 0.03 < limits.loc[("batch_mean", 0.39), "limit"] < limits.loc[("batch_mean", 0.39), "reference"]


def test_the_efficiency_of_rdro_falls_near_the_bound_but_not_its_constant():
    table = study("ratio_constants").table(found("ratio_constants"))
    curve = table[table.design == "curve"].pivot(index="edge", columns="estimator", values="predicted_kl")
    assert np.ptp(curve["RDRO"]) < 0.02 * curve["RDRO"].mean()
    efficiency = (curve["RDRO"] / curve["DDRO"]).to_numpy()
    assert (np.diff(efficiency) > 0).all()
    assert efficiency[0] < 1.02
    assert 1.2 < efficiency[-1] < 1.5


def test_population_of_the_bound_has_the_ratio_asked_for():
    module = study("ratio_bound")
    for sup in (1.5, 30, 1000):
        people = module.truth(sup)
        assert (people.preferred / people.dispreferred).max() == pytest.approx(sup, rel=1e-6)
        assert people.prior == pytest.approx(0.5, abs=1e-12)


def test_labels_have_the_prior_asked_for():
    estimators = importlib.import_module("distalign.simulation.studies.density_ratio.estimators")
    for prior in (0.1, 0.39, 0.9):
        assert estimators.thumbs(prior).prior == pytest.approx(prior, abs=1e-12)


def test_sparse_data_leave_the_domain_in_ddro_only_where_nothing_was_rejected():
    table = study("ratio_sparse").table(found("ratio_sparse")).set_index(["method", "size"])
    assert table.loc[("raw DDRO", 32), "ratio"] > 2 * table.loc[("DDRO", 32), "ratio"]
    assert table.loc[("raw DDRO", 32), "missing"] > 1
    assert table.loc[("raw DDRO", 16384), "missing"] == 0
    assert table.loc[("raw DDRO", 16384), "mean"] == pytest.approx(table.loc[("DDRO", 16384), "mean"])
