"""The fast sort is torch's, in value, gradient, curvature and under torch.func."""

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
