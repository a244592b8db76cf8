"""Rules of arguments: what they refuse, and that they change nothing else."""

import inspect
import pickle
import timeit
from functools import cache

import numpy as np
import pytest
import torch

from distalign.arguments import (
    COST,
    COVARIANCE,
    FEATURES,
    FLAG,
    INSIDE_UNIT,
    LAW,
    LOG_LAW,
    MASSES,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    REAL,
    UNIT,
    WIN,
    OneOf,
    checked,
    instance,
    quantity,
    spanning,
    whole_number,
)
from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.theory.aot import covariance, order_variance

nan, inf = np.nan, np.inf


@checked(x=REAL.of("m"), weights=LAW.of("m"), scale=POSITIVE)
def mean(x, weights, *, scale=1.0):
    """What it does."""
    return x, weights, scale


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (
            POSITIVE,
            (1, 0.5, np.float32(2), np.array(1.0)),
            (0, -1.0, nan, inf, np.float32(inf), 1e300, "1", None, [], [1, 2]),
        ),
        (POSITIVE_OR_INFINITE, (1.0, inf), (-inf, nan)),
        (
            UNIT.each,
            (0, 1, [0.5, 1.0], np.zeros((0, 3)), torch.tensor([0.5])),
            (1.1, [0.5, nan], "x", [[1], [1, 2]]),
        ),
        (UNIT.elementwise, (0.5, np.ones(3)), ([0.5, 0.5], (0.1,))),
        (INSIDE_UNIT, (0.5, 1 - 1e-16), (0.0, 1.0)),
        (quantity(), (1, 2.5, 1e4), (0, inf)),
        (whole_number(2), (2, np.int64(3)), (1, 2.5, 3.0, nan)),
        (whole_number(0).of("n"), ([0, 1], [2.0]), ([0.5], [-1])),
        (REAL.of("m d"), ([[1, 2]], np.ones((2, 2), np.float32)), ([1.0], [[]], np.zeros((0, 2)), 0.5)),
        (REAL.or_none, (None, 1.0), (nan,)),
        (LAW.of("... m"), ([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]), ([0.5, 0.6], [2.0, -1.0], [nan, 1.0])),
        (LOG_LAW.of("m"), (np.log([0.5, 0.5]),), (np.log([0.5, 0.6]), [0.0, -inf])),
        (MASSES.of("m"), ([0, 3],), ([0, 0], [-1, 2])),
        (COST, ([[0, 1], [1, 0]],), ([[0, 1], [2, 0]], [[1, 1], [1, 0]], [[0, 1, 1], [1, 0, 1]])),
        (WIN, ([[0.5, 0.7], [0.3, 0.5]],), ([[0.5, 0.7], [0.7, 0.5]], [[0.5, 1.2], [-0.2, 0.5]])),
        (COVARIANCE, ([[1.0, -1.0], [-1.0, 1.0]],), ([[-1.0, 0.0], [0.0, 1.0]],)),
        (FEATURES.of("m d"), ([[1.0], [2.0]],), ([[1.0], [1.0]], [[1e-200], [2e-200]])),
        (FLAG, (True, np.bool_(0)), ("true", 1.0, None)),
        (OneOf(("a", "b")), ("a",), ("c", 3, [])),
        (instance(dict), ({},), ([], None)),
    ],
)
def test_what_a_rule_allows_and_refuses(rule, good, bad):
    for value in good:
        rule.check("x", value, {})
    for value in bad:
        with pytest.raises(InputError, match=r"^x (must be .*, got |has shape )") as caught:
            rule.check("x", value, {})
        assert len(str(caught.value)) > 20


def test_a_tensor_that_records_its_gradient_is_refused_with_a_sentence():
    with pytest.raises(InputError, match="x must be"):
        REAL.check("x", torch.ones((), requires_grad=True), {})


def test_axes_of_one_name_have_one_length():
    with pytest.raises(InputError, match=r"weights has shape \(2,\), 2 along m, where x has 3"):
        mean(np.ones(3), [0.5, 0.5])
    sizes = {}
    REAL.of("S K").check("scores", np.ones((2, 3)), sizes)
    REAL.of("S*K").check("p", np.ones(6), sizes)
    with pytest.raises(InputError, match="p has shape"):
        REAL.of("S*K").check("p", np.ones(5), sizes)
    lead = {}
    REAL.of("... K").check("r", np.ones((4, 3)), lead)
    REAL.of("... K").check("q", np.ones(3), lead)
    with pytest.raises(InputError, match="leading axes"):
        REAL.of("... K").check("q", np.ones((5, 3)), lead)


def test_arguments_are_passed_on_as_they_are():
    x, weights = [1, 2], torch.tensor([0.5, 0.5], dtype=torch.float32)
    out = mean(x, weights=weights)
    assert out[0] is x
    assert out[1] is weights
    assert out[2] == 1.0
    with pytest.raises(InputError, match="scale"):
        mean(x, weights, scale=-1.0)


def test_what_the_function_raises_and_says_is_its_own():
    @checked(x=REAL)
    def broken(x):
        raise LinAlgError("singular")

    class LinAlgError(ValueError):
        pass

    with pytest.raises(LinAlgError, match="singular"):
        broken(1.0)
    with pytest.raises(TypeError, match="required positional argument"):
        mean()  # pyright: ignore[reportCallIssue]
    assert mean.__doc__ == "What it does."
    assert str(inspect.signature(mean)) == "(x, weights, *, scale=1.0)"
    assert pickle.loads(pickle.dumps(covariance)) is covariance
    users = pickle.loads(pickle.dumps(BradleyTerryUsers(np.eye(2), np.array([0.5, 0.5]), 1.0)))
    assert users.bt_temperature == 1.0
    assert list(inspect.signature(BradleyTerryUsers).parameters) == ["utilities", "weights", "bt_temperature"]


def test_a_cache_below_can_be_cleared():
    assert order_variance("uniform", 3) == 0.5
    order_variance.cache_clear()
    assert order_variance.cache_info().currsize == 0

    @checked(n=whole_number())
    @cache
    def same(n):
        return object()

    assert same(1) is same(1)


def test_an_answer_that_is_no_number_is_refused():
    @checked(x=REAL)
    def difference(x):
        return x, np.array([np.exp(x) - np.exp(x)])

    assert difference(1.0)[1] == 0
    with np.errstate(all="ignore"), pytest.raises(InputError, match=r"difference has no answer .* of x"):
        difference(1e4)


def test_a_relation_sees_defaults_and_keywords():
    def ordered(low, high):
        return "" if low < high else f"low must be below high, got {low} and {high}"

    @checked(ordered, low=REAL)
    def gap(low, high=2.0):
        return high - low

    assert gap(1.0) == 1.0
    for call in (lambda: gap(3.0), lambda: gap(1.0, high=0.5), lambda: gap(low=3.0)):
        with pytest.raises(InputError, match="low must be below high"):
            call()


def test_a_rule_for_no_argument_is_an_error_where_it_is_written():
    with pytest.raises(TypeError, match="has no argument y"):
        checked(y=REAL)(lambda x: x)


def test_features_are_told_apart_where_there_is_mass():
    v = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert spanning(v, [0.5, 0.5, 0.0]) == ""
    assert "spans 1 of 2" in spanning(v, [0.0, 0.0, 1.0])
    assert "spans 0 of 2" in spanning(1e-200 * v, [0.5, 0.5, 0.0])


def test_a_check_costs_microseconds():
    def plain(x, y):
        return x

    guarded = checked(x=REAL, y=POSITIVE)(plain)
    best = min(timeit.repeat(lambda: guarded(1.0, 2.0), number=2000, repeat=5)) / 2000
    assert best < 2e-5  # about 1e-6 on an idle core
