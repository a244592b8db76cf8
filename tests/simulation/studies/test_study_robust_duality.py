"""The studies of duality, invariants, collapse and bounds, small: what they count and what they build."""

import numpy as np
import pandas as pd
import pytest
from study_kit import failed, found

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust import (
    dro_bounds,
    dro_collapse,
    dro_duality,
    dro_invariants,
)
from distalign.simulation.studies.robust.balls import BALLS, ball, metric
from distalign.solvers.robust.wasserstein_fit import triangle_excess

INSTANCES = 6


def collapse_rows():
    """Rows of a small study; one cell holds several shares."""
    cells = dro_collapse.cells(shares=[0.5, 0.999, 1.001], instances=INSTANCES)
    return pd.concat(
        [pd.DataFrame(dro_collapse.run(np.random.default_rng(0), **c)).assign(ball=c["ball"]) for c in cells]
    )


def test_collapse_on_both_sides():
    few = collapse_rows()
    assert not failed(dro_collapse.checks(few))
    table = dro_collapse.table(few).set_index(["ball", "share"])
    assert (table.xs(1.001, level="share").collapsed == INSTANCES).all()
    assert (table.xs(0.999, level="share").collapsed == 0).all()


def test_a_gap_fails_the_certificate():
    found_rows = found("dro_duality")
    wrong = found_rows.assign(gap=found_rows.gap + 1e-6)
    assert failed(dro_duality.checks(wrong)) == {"value = lower bound (the certificate)"}


@pytest.mark.parametrize("radius", [0.01, 0.3])
@pytest.mark.parametrize("kind", BALLS)
def test_laws_built_without_a_solver_stay_inside_the_ball(kind, radius):
    """Their expected loss lies between the plain and the robust loss, and near the latter."""
    around = ball(kind, log_linear_bradley_terry(np.random.default_rng(0), 3, 4, 3, norm=2.5, beta=0.8))
    theta = np.random.default_rng(1).normal(size=(20, 3))
    plain = np.logaddexp(0, -0.8 * theta @ around.v.T) @ around.p
    inside, robust = dro_invariants._largest_loss_found(around, theta, radius), around.value(theta, radius)
    assert (inside > plain).all()
    assert (inside <= robust * (1 + 1e-9)).all()
    assert ((inside - plain) / (robust - plain)).min() > 0.8


def test_bounds_are_informative_where_their_formula_says_and_tightest_there():
    table = dro_bounds.table(found("dro_bounds"))
    uniform = table.method == "Theorem 2"
    assert table.vacuous[uniform].all()
    informative = table["size"] > table.informative_from
    assert (table.vacuous[~uniform] == ~informative[~uniform]).all()
    assert (table.tightness < 0.02).all()


def test_the_metric_is_one_and_flips_cost_what_they_should():
    instance = dro_bounds.bounds_instance()[0]
    for flip_cost in (0.3, 1.0, np.inf):
        distance = metric(instance, flip_cost)
        np.testing.assert_allclose(distance, distance.T)
        assert (np.diagonal(distance) == 0).all()
        assert triangle_excess(distance) < 1e-12
    assert metric(instance, 0.3).max() < metric(instance, np.inf).max()
    around = ball("W1 finite", instance)
    turned = np.flatnonzero(np.isclose(around.v, -around.v[0]).all(1))
    assert 0 < around.distance[0, turned].min() <= 1.0
    assert ball(BALLS[0], instance).order == 1
