"""The one fit for every Wasserstein ball: it is the method of its ground, and refuses what has none."""

from dataclasses import fields

import numpy as np
import pytest

import distalign.solvers.robust as robust
from distalign.checks import InputError
from distalign.solvers.robust import wasserstein
from distalign.solvers.robust.wasserstein import fit
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_norm import fit_norm
from distalign.solvers.robust.wasserstein_replicates import fit_replicates

METHODS = ("fit_finite", "fit_replicates", "fit_norm", "fit_euclidean")


def instance(atoms, laws, seed=0):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(atoms // 2, 2))
    v = np.concatenate([half, -half])
    law = 1 / (1 + np.exp(-v @ [1.0, -0.5]))
    return v, rng.multinomial(200, law / law.sum(), laws) / 200, np.linalg.norm(v[:, None] - v, axis=-1)


def same(one, other):
    for f in fields(one):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(other, f.name))


def test_is_each_method_on_its_ground():
    v, laws, distance = instance(8, 3)
    same(
        fit(v, laws, distance**2, radius=0.1, beta=0.7, order=2),
        fit_replicates(v, laws, distance**2, radius=0.1, beta=0.7, order=2),
    )
    same(
        fit(v, laws[0], distance**2, radius=0.1, beta=0.7, order=2),
        fit_finite(v, laws[0], distance**2, radius=0.1, beta=0.7, order=2),
    )
    for norm in ("l2", "l1", "linf"):
        same(
            fit(v, laws, radius=0.1, beta=0.7, norm=norm),
            fit_norm(v, laws, radius=0.1, beta=0.7, norm=norm),
        )
    same(fit(v, laws, radius=0.1, beta=0.7), fit_norm(v, laws, radius=0.1, beta=0.7, norm="l2"))
    same(fit(v, laws, radius=0.1, beta=0.7, order=2), fit_euclidean(v, laws, radius=0.1, beta=0.7))
    same(fit(v, laws, radius=0.1, order=2, norm="l2"), fit_euclidean(v, laws, radius=0.1))


def test_the_two_methods_of_a_finite_space_agree_where_the_front_switches():
    v, laws, distance = instance(100, 2)
    small, large = (f(v, laws, distance, radius=0.1) for f in (fit_replicates, fit_finite))
    assert small.solved.all()
    assert large.solved.all()
    np.testing.assert_allclose(small.value, large.value, atol=2e-9)
    other = fit_finite(v, laws, distance, radius=0.11)
    assert np.abs(small.value - other.value).min() > 1e-4  # a tenth of the radius is seen


@pytest.mark.parametrize(
    ("atoms", "laws", "given", "chosen"),
    [
        (100, 2, {"cost": True}, "fit_replicates"),
        (8, 50, {"cost": True, "order": 3}, "fit_replicates"),
        (102, 2, {"cost": True}, "fit_finite"),  # a large space
        (8, 1, {"cost": True}, "fit_finite"),  # a single law, whose collapse is warned of
        (8, 50, {}, "fit_norm"),
        (8, 50, {"norm": "l1"}, "fit_norm"),
        (8, 50, {"order": 2}, "fit_euclidean"),
    ],
)
def test_the_ball_and_the_size_choose_the_method(atoms, laws, given, chosen, monkeypatch):
    v, p, distance = instance(atoms, laws)
    for name in METHODS:
        monkeypatch.setattr(wasserstein, name, lambda *args, called=name, **options: called)
    if given.pop("cost", False):
        given["cost"] = distance
    assert fit(v, p, radius=0.1, **given) == chosen


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"cost": True, "norm": "l2"}, "norm must be left out where cost is given"),
        ({"order": 3}, "order must be 1 or 2 for a ball on R.d.*give cost"),
        ({"order": 1.5}, "order must be 1 or 2 for a ball on R.d.*give cost"),
        ({"order": 2, "norm": "l1"}, "norm must be 'l2' for order 2.*take order=1"),
        ({"norm": "l3"}, "norm must be one of 'l2', 'l1', 'linf'"),
        ({"cost": True, "order": 0.5}, "order must be a finite number of at least 1"),
        ({"cost": True, "radius": 0.0}, "radius must be a finite number above 0"),
        ({"radius": 0.0}, "radius must be a finite number above 0"),
        ({"order": 2, "radius": 0.0}, "radius must be a finite number above 0"),
        ({"beta": 0.0}, "beta must be a finite number above 0"),
    ],
)
@pytest.mark.parametrize("laws", [1, 3])
def test_what_has_no_method_is_refused(laws, given, sentence):
    v, p, distance = instance(8, laws)
    options = {"radius": 0.1, **given}
    if options.pop("cost", False):
        options["cost"] = distance
    with pytest.raises(InputError, match=sentence):
        fit(v, p, **options)


def test_a_space_that_some_direction_separates_is_refused_by_either_method():
    v, cost = np.array([[1.0], [2.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    for p in ([0.9, 0.1], [[0.9, 0.1], [0.5, 0.5]]):
        with pytest.raises(InputError, match="add atoms"):
            fit(v, p, cost, radius=0.1)


def test_the_package_offers_it():
    assert robust.fit is fit
