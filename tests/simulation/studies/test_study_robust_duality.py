"""The studies of duality, collapse and bounds, small: which checks see which planted defect."""

import numpy as np
import pandas as pd
import pytest
from study_kit import failed, rows

from distalign.simulation.studies.robust import (
    dro_bounds,
    dro_collapse,
    dro_duality,
    dro_invariants,
    dro_sandwich,
    dro_strong_convexity,
)
from distalign.simulation.studies.robust.balls import BALLS, Ball, ball, metric
from distalign.solvers.robust.wasserstein_fit import triangle_excess

SMALL = {
    dro_duality: (
        {"shares": [0.5], "instances": 1},
        {
            "value = cvxpy's program",
            "theta = cvxpy's",
            "value = supremum by a second road",
            "distance of the worst law = radius, relative",
        },
    ),
    dro_invariants: (
        {"parameters": 10, "instances": 1},
        {
            "I1: at least the plain loss",
            "I1: does not fall as the ball grows",
            "I1: convex in theta",
            "I4: no law of the ball has a larger loss",
        },
    ),
    dro_sandwich: (
        {"radii": [0.001, 0.1], "parameters": 20, "instances": 1},
        {"upper: Lipschitz and Taylor"},
    ),
    dro_strong_convexity: (
        {"radii": {"KL": [0.001], "W1 finite": [0.02]}, "triples": 100, "instances": 1},
        {"KL: gamma lambda <= modulus", "W1 finite: gamma lambda <= modulus"},
    ),
    dro_bounds: (
        {"sizes": [10000, 10**16], "replicates": 10},
        {
            "Theorem 1: squared error <= right-hand side",
            "Theorem 2, favourable: squared error <= right-hand side",
            "Theorem 2, repaired: squared error <= right-hand side",
            "Proposition 1: squared error <= right-hand side",
        },
    ),
}


@pytest.mark.parametrize("study", SMALL, ids=lambda s: s.__name__.rsplit(".", 1)[1])
def test_holds_and_the_defect_is_seen_where_it_should(study):
    preset, seen = SMALL[study]
    assert not failed(study.checks(rows(study.__name__, preset)))
    assert seen <= failed(study.checks(rows(study.__name__, preset, control=True)))


def test_invariants_do_not_see_the_sign_at_the_reference():
    preset = SMALL[dro_invariants][0]
    assert "I2: log 2 at the reference policy" not in failed(
        dro_invariants.checks(rows(dro_invariants.__name__, preset, True))
    )


INSTANCES = 12


def collapse_rows():
    """Rows of a small study; one cell holds several shares."""
    cells = dro_collapse.cells(shares=[0.5, 0.999, 1.001], instances=INSTANCES)
    return pd.concat(
        [pd.DataFrame(dro_collapse.run(np.random.default_rng(0), **c)).assign(ball=c["ball"]) for c in cells]
    )


def test_collapse_on_both_sides(monkeypatch):
    found = collapse_rows()
    assert not failed(dro_collapse.checks(found))
    table = dro_collapse.table(found).set_index(["ball", "share"])
    assert (table.xs(1.001, level="share").collapsed == INSTANCES).all()
    assert (table.xs(0.999, level="share").collapsed == 0).all()
    monkeypatch.setattr(Ball, "collapse_radius", lambda self: 0.9 * float(np.linalg.norm(self.p @ self.v)))
    assert {"above: theta = 0", "threshold by a second program, relative"} <= failed(
        dro_collapse.checks(collapse_rows())
    )


def test_a_wrong_solver_fails_the_certificate(monkeypatch):
    honest = Ball.fit

    def wrong(self, radius):
        found = honest(self, radius)
        return type(found)(found.theta, found.value + 1e-6, found.lower, found.solved, found.worst)

    monkeypatch.setattr(Ball, "fit", wrong)
    found = rows(dro_duality.__name__, SMALL[dro_duality][0])
    assert "value = lower bound (the certificate)" in failed(dro_duality.checks(found))


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
