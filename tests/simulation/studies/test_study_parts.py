"""Parts of studies that no check of theirs reads: columns of tables, laws of examples, cells of defects."""

import numpy as np
import pytest
from study_kit import failed, found, study

from distalign.simulation.studies.robust import dro_strong_convexity


def test_measures_of_a_shortfall_by_hand():
    module = study("aot_penalties")
    shortfall = np.array([0.4, 0.1, 0.0, -0.5])
    measured = module._measures(np.array([0.1, 0.2, 0.3, 0.4]), module.MARGIN - shortfall)
    expected = {"short": 0.3, "effective": 0.06**2 / (0.1 * 0.4**2 + 0.2 * 0.1**2), "met": 0.3, "depth": 0.2}
    assert measured == pytest.approx(expected)


def test_unseen_responses_are_those_without_a_label():
    module = study("ratio_loglinear")
    (name, *_) = module.SUPS
    rows = module.run(np.random.default_rng(3), population=name, size=50, replicates=4)
    _, truth = module.features_and_labels(name)
    sample = truth.sample(50, np.random.default_rng(3), replicates=4)
    labels = np.asarray(sample.weights) + np.asarray(sample.rejected_weights)
    expected = [(row == 0).mean() for row in labels]
    assert rows["unseen"][:4].tolist() == pytest.approx(expected)
    assert len(set(expected)) > 1


def test_laws_of_examples_sum_to_one(monkeypatch):
    balls = []
    monkeypatch.setattr(dro_strong_convexity, "_moduli", lambda around, *rest: balls.append(around))
    dro_strong_convexity._two_responses(np.random.default_rng(0), "KL", 0.1, 2)
    assert balls[0].p.sum() == 1
    for law in study("f_dpo_calibration")._swap(np.random.default_rng(0), 3):
        np.testing.assert_allclose(law.sum(-1), 1)


def test_defects_of_the_search_are_planted_in_programs_at_low_temperatures():
    module = study("distortion_search")
    asked = [(s, b) for s in ("program", "black box") for b in (2.0, 8.0)]
    hit = [module._program({"search": s, "bt_temperature": b}) for s, b in asked]
    assert hit == [True, False, False, False]


def test_no_row_of_the_sandwich_is_left_out():
    """A violation in any drawn instance fails the bound."""
    module, rows = study("dro_sandwich"), found("dro_sandwich")
    assert not failed(module.checks(rows))
    for instance in sorted({*rows.instance[rows.instance >= 0]}):
        wrong = rows.assign(low=rows.low.where(rows.instance != instance, 2 * rows.exact))
        assert "lower: E l + rho g" in failed(module.checks(wrong))


def test_no_gain_over_the_reference_is_no_gain():
    module, rows = study("dro_collapse"), found("dro_collapse")
    fails = failed(module.checks(rows.assign(gain=0.0)))
    assert sum("root of the gain" in name for name in fails) == rows.ball.nunique()


def test_forces_are_infinite_only_where_a_loss_has_no_value():
    module = study("ratio_population")
    up, ref = np.array([[0.6, 0.4]]), np.array([0.3, 0.7])
    beyond = np.array([[0.7, 0.3]])  # t pi / p_ref = 7/6
    finite = {
        loss: bool(np.isfinite(module._imbalance(loss, up, 0.5 * up, beyond, ref, 0.5)[0]))
        for loss in ("rdro logistic", "rdro rulsif", "ddro squash", "ddro label_mle", "ddro lsif")
    }
    assert finite == {
        "rdro logistic": True,
        "rdro rulsif": True,
        "ddro squash": True,
        "ddro label_mle": False,
        "ddro lsif": False,
    }
