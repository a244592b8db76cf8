"""KL balls of many atoms: against the safe road, by a certificate computed anew, and on hard data."""

import numpy as np
import pytest
from scipy.special import expit, rel_entr

from distalign.solvers.robust import kl_fit, kl_large
from distalign.solvers.robust.collapse import collapse_radius
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball
from distalign.solvers.robust.kl_large import optimum_on_many

SIZE = 6000


def comparisons(seed, theta=(1.0, -0.5, 0.3), size=SIZE):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(size, len(theta)))
    return v * np.where(rng.random(size) < expit(v @ theta), 1, -1)[:, None]


def zipf(rng):
    return rng.permutation(1 / np.arange(1, SIZE + 1)) / (1 / np.arange(1, SIZE + 1)).sum()


def case(name):
    rng = np.random.default_rng(1)
    v, p, radius = comparisons(0), np.full(SIZE, 1 / SIZE), 0.05
    if name == "tiny radius":
        radius = 3e-6
    elif name == "near collapse":
        radius = 0.999 * float(collapse_radius(v, p)[0])
    elif name == "collapsed":
        radius = 1.001 * float(collapse_radius(v, p)[0])
    elif name == "two in three atoms of weight 0":
        p = np.where(np.arange(SIZE) % 3, 0, 3 / SIZE)
        v[p == 0] *= 1e6  # what weighs nothing must not count
    elif name == "a few atoms have most of the weight":
        p = zipf(rng)
    elif name == "repeated atoms":
        v = np.repeat(v[:30], SIZE // 30, 0)
    elif name == "near-separable":
        v = np.abs(v) * [1, 1, 0.1]
        v[:12] *= -1
    elif name == "separable":
        v = np.abs(v)
    elif name == "large features":
        v *= 1e5
    elif name == "small features":
        v *= 1e-5
    elif name == "features on two scales":
        v *= [1e3, 1.0, 1e-3]
    elif name == "sorted":
        v = v[np.argsort(v[:, 0])]
    return v, p, radius


NAMES = (
    "plain",
    "tiny radius",
    "near collapse",
    "collapsed",
    "two in three atoms of weight 0",
    "a few atoms have most of the weight",
    "repeated atoms",
    "near-separable",
    "separable",
    "large features",
    "small features",
    "features on two scales",
    "sorted",
)


@pytest.mark.filterwarnings("ignore::distalign.solvers.robust.collapse.CollapseWarning")
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_safe_road_and_its_certificate_is_true(name, monkeypatch):
    v, p, radius = case(name)
    quick, alone = fit_kl_ball(v, p, radius=radius), optimum_on_many(v, p, radius)
    monkeypatch.setattr(kl_fit, "MANY", np.inf)
    safe = fit_kl_ball(v, p, radius=radius)
    assert quick.solved == safe.solved
    assert quick.collapsed == safe.collapsed
    if name in ("collapsed", "separable"):
        assert alone is None
    if not safe.solved:
        return
    np.testing.assert_allclose(quick.dual, safe.dual, rtol=0, atol=1e-12)
    size = 1 + np.abs(v).max()
    np.testing.assert_allclose(quick.theta * size, safe.theta * size, rtol=1e-6, atol=1e-6)
    # By the other road to the worst law at this theta.
    losses = np.logaddexp(0, -v @ quick.theta[0])
    worst = kl_worst_case(losses, p, radius)
    assert worst.value == pytest.approx(quick.dual[0], abs=1e-12)
    assert quick.primal[0] - 1e-14 <= worst.value <= quick.dual[0] + 1e-13
    assert quick.dual[0] - quick.primal[0] < 1e-11
    if alone is not None:
        exponents = (losses - losses[p > 0].max()) / alone.z[-1]
        weights = p * np.exp(np.minimum(exponents, 0))
        weights /= weights.sum()
        assert rel_entr(weights, p).sum() == pytest.approx(radius, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("name", ["plain", "two in three atoms of weight 0", "repeated atoms", "sorted"])
def test_ordinary_data_take_this_road(name):
    assert optimum_on_many(*case(name)) is not None


def test_laws_of_one_call_are_solved_each():
    v, rng = comparisons(2), np.random.default_rng(3)
    laws = rng.dirichlet(np.ones(SIZE), 3)
    together = fit_kl_ball(v, laws, radius=0.03)
    for law, theta in zip(laws, together.theta, strict=True):
        np.testing.assert_allclose(theta, fit_kl_ball(v, law, radius=0.03).theta[0], rtol=1e-12)


def test_a_law_above_the_radius_by_rounding_is_drawn_back_into_the_ball():
    """The primal value is that of a law of the ball, whatever the gradient leaves."""
    v, p, radius = case("plain")
    dual = kl_large._Dual(np.ascontiguousarray(v.T), p, radius)
    for change in (1e-4, -1e-4):
        z = optimum_on_many(v, p, radius).z + change * np.eye(4)[3]
        at = dual.at(z)
        best = kl_worst_case(at.losses, p, radius).value
        primal = kl_large.primal_value(at, p, radius)
        assert primal <= best + 1e-15
        assert best - 1e-3 < primal
        assert at.value >= best
        if change < 0:
            assert at.mean > best  # the law itself is too far away
