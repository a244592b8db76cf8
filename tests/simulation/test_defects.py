"""A planted defect reaches every name of the function it replaces, and is gone afterwards."""

import functools

import pytest

from distalign.objectives import kldpo
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, planted, result
from distalign.theory.aot.finite_samples import order_variance
from distalign.theory.robust import kldpo as theory

HELD = functools.partial(theory.shrinkage_factor, 1.0)
TWICE = Defect("twice the factor", theory.shrinkage_factor, result(lambda x: 2 * x))


def test_partials_and_imported_names_call_the_wrong_function():
    with planted(TWICE):
        assert HELD() == theory.shrinkage_factor(1.0) == 1.0
    assert HELD() == theory.shrinkage_factor(1.0) == 0.5


def test_it_is_gone_after_an_error():
    with pytest.raises(ZeroDivisionError), planted(TWICE):
        raise ZeroDivisionError
    assert HELD() == 0.5


def test_an_objective_is_reached_below_its_decorators():
    import torch

    zeros = torch.zeros(9, dtype=torch.float64)
    batch = PreferenceLogProbs(torch.linspace(-1, 1, 9, dtype=torch.float64), zeros, zeros, zeros)
    right, hotter = (kldpo(batch, beta=1.0, temperature=t) for t in (1.0, 1.1))
    with planted(Defect("hotter", kldpo, argument("temperature", lambda t: 1.1 * t))):
        assert kldpo(batch, beta=1.0, temperature=1.0) == hotter != right


def test_what_was_cached_is_forgotten_on_both_ways():
    right = order_variance("uniform", 3)
    with planted(Defect("twice", order_variance, result(lambda x: 2 * x))):
        assert order_variance("uniform", 3) == 2 * right
    assert order_variance("uniform", 3) == right


def test_what_cannot_be_replaced_is_refused():
    for builtin in (len, kldpo.__call__):
        with pytest.raises(TypeError, match="no plain function"), planted(Defect("x", builtin, result(abs))):
            pass
    with (
        pytest.raises(TypeError, match="has no argument radios"),
        planted(Defect("x", kldpo, argument("radios", abs))),
    ):
        pass
    with planted(TWICE), pytest.raises(TypeError, match="already"), planted(TWICE):
        pass
    assert HELD() == 0.5
    assert not no_cell({})
