"""The fast sort is torch's, in value, gradient, curvature and under torch.func."""

import numpy as np
import pytest
import torch
from torch.func import grad, hessian, vmap

from distalign.sorting import ascending


def weighted(values, sort):
    ordered = sort(values)[0]
    return (torch.arange(1.0, len(values) + 1, dtype=values.dtype) * ordered.square()).sum()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own forward mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_order_and_derivatives_are_those_of_torch(dtype):
    x = torch.randn(257, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(ascending(x), torch.sort(x), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(grad(weighted)(x, ascending), grad(weighted)(x, torch.sort))
    small = x[:9]
    assert torch.equal(hessian(weighted)(small, ascending), hessian(weighted)(small, torch.sort))
    assert not torch.equal(grad(weighted)(x, ascending), grad(weighted)(x, lambda v: (v, None)))


def test_replicates_and_their_derivatives():
    x = torch.randn(5, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(vmap(vmap(lambda v: ascending(v)[0]))(x), x.sort(-1).values)
    ours = vmap(grad(lambda v: weighted(v, ascending)), in_dims=1)(x[0].T.contiguous())
    assert torch.equal(ours, torch.stack([grad(weighted)(v, torch.sort) for v in x[0]]))


def test_gradcheck():
    x = torch.randn(8, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(lambda v: weighted(v, ascending), x)
    assert torch.autograd.gradgradcheck(lambda v: weighted(v, ascending), x)


def of(kind, dtype, rng):
    """6,000 values, enough for keys and places to be sorted as one integer."""
    values = {
        "normal": rng.normal(size=6000),
        "few values": rng.integers(-3, 4, 6000) / 2,
        "apart in the last bits": 1 + rng.integers(0, 500, 6000) * 2.0**-50,
        "below 0, apart in the last bits": -1 - rng.integers(0, 500, 6000) * 2.0**-50,
        "every size": rng.normal(size=6000) * 10.0 ** rng.integers(-300, 300, 6000),
        "infinities": np.where(rng.random(6000) < 0.1, np.inf, rng.normal(size=6000))
        * rng.choice([-1, 1], 6000),
    }[kind]
    with np.errstate(over="ignore"):
        return values.astype(dtype)


KINDS = (
    "normal",
    "few values",
    "apart in the last bits",
    "below 0, apart in the last bits",
    "every size",
    "infinities",
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_many_values_are_in_order_and_each_place_comes_once(kind, dtype):
    values = of(kind, dtype, np.random.default_rng(0))
    ordered, places = (x.numpy() for x in ascending(torch.from_numpy(values)))
    np.testing.assert_array_equal(ordered, np.sort(values))
    np.testing.assert_array_equal(values[places], ordered)
    np.testing.assert_array_equal(np.sort(places), np.arange(6000))


def test_many_replicates_and_what_is_no_number():
    rng = np.random.default_rng(1)
    values = np.stack([of(kind, float, rng) for kind in KINDS])
    strided = torch.from_numpy(values.T.copy()).T
    found = vmap(lambda v: ascending(v)[0])(strided)
    np.testing.assert_array_equal(found.numpy(), np.sort(values, -1))
    values[:, 5], values[:, 7] = np.nan, -np.nan
    found = vmap(lambda v: ascending(v)[0])(torch.from_numpy(values))
    np.testing.assert_array_equal(found.numpy(), np.sort(values, -1))
