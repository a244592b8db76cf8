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
    rows = module.run(np.random.default_rng(3), population=name, size=200, replicates=40)
    _, truth = module.features_and_labels(name)
    sample = truth.sample(200, np.random.default_rng(3), replicates=40)
    labels = np.asarray(sample.weights) + np.asarray(sample.rejected_weights)
    expected = [(row == 0).mean() for row in labels]
    assert rows["unseen"][:40].tolist() == pytest.approx(expected)
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


def test_predicted_bias_goes_over_into_its_first_order():
    """The quadrature and the constant over b + 1 meet where one takes over from the other."""
    module = study("aot_batch_bias")
    batch = module.ASYMPTOTIC
    near, far = module._predicted("logistic", batch), module._predicted("logistic", batch + 1)
    np.testing.assert_allclose(far * (batch + 2) / (batch + 1), near, rtol=0.02)


def test_spread_of_a_uniform_law_is_the_integral_of_the_root_of_its_variance():
    low, high = -0.4, 1.3
    share = np.linspace(0, 1, 200_001)
    expected = (high - low) * np.trapezoid(np.sqrt(share * (1 - share)), share)
    assert study("aot_bound")._uniform(low, high).spread == pytest.approx(expected, rel=1e-5)


def test_swapped_winner_gains_as_much_in_the_ball_of_pairs():
    """At a small margin both premiums are that of a law in which the likely winner always loses."""
    module = study("dro_sandwich")
    rows = module._swap(0.05)
    assert rows["pairs"][0] == pytest.approx(rows["finite"][0], rel=0.05)


def test_rates_of_being_chosen_are_means():
    """The reference's rate is the prior, and p+'s is higher; none is above 1."""
    module = study("ratio_language_model")
    rows = module.run(np.random.default_rng(0), size=512, epochs=1, seed=0)
    rate = dict(zip(rows["method"], rows["rate"], strict=True))
    assert rate["reference"] == pytest.approx(module.PRIOR, abs=0.03)
    assert rate["reference"] < rate["p+"]
    assert all(0 < value < 1 for value in rate.values())
