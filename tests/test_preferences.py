"""The seam: what it refuses, what it derives, its metrics, and the quantile coupling under them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, jacrev, vmap

from distalign.checks import InputError
from distalign.oracles.transport import transport_cost
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.preferences import metrics, quantile_coupling

TWO = torch.tensor([-1.0, -2.0])


def four(n=2, m=2, **fields):
    return Batch(-torch.ones(n), -torch.ones(m), torch.zeros(n), torch.zeros(m), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"chosen": torch.zeros(2, 3)},
            r"chosen must have one dimension, got shape \(2, 3\): sum over the tokens",
        ),
        ({"chosen": [0.0, 1.0]}, "chosen must be a floating-point tensor of log-probabilities, got list"),
        ({"rejected": torch.zeros(2, dtype=torch.long)}, "rejected must be a floating-point tensor"),
        ({"ref_chosen": torch.zeros(3)}, r"ref_chosen has shape \(3,\) but chosen has 2 entries"),
        ({"ref_rejected": torch.zeros(3)}, r"ref_rejected has shape \(3,\) but rejected has 2 entries"),
        ({"weights": torch.ones(1)}, r"weights has shape \(1,\) but chosen"),
        ({"rejected_weights": torch.ones(5)}, r"rejected_weights has shape \(5,\) but rejected"),
        ({"groups": torch.zeros(2, 1)}, r"groups has shape \(2, 1\) but chosen"),
        ({"rejected_tokens": torch.ones(1)}, r"rejected_tokens has shape \(1,\) but rejected"),
        ({"inputs": (torch.zeros(3, 4),)}, r"inputs must have one row per pair, \(2, ...\), got \(3, 4\)"),
        ({"inputs": (torch.zeros(2),)}, "inputs must have one row per pair"),
        ({"chosen": torch.tensor([0.0, math.nan])}, "chosen is not finite in 1 entries, first at index 1"),
        (
            {"ref_rejected": torch.tensor([-math.inf, 0.0])},
            "ref_rejected is not finite in 1 entries, first at index 0",
        ),
        ({"weights": torch.tensor([1.0, -1.0])}, "weights must be finite, non-negative and not all zero"),
        ({"weights": torch.zeros(2)}, "weights must be finite, non-negative and not all zero"),
        ({"rejected_weights": torch.tensor([math.inf, 1.0])}, "rejected_weights must be finite"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        replace(four(), **fields)


def test_values_are_not_looked_at_without_validation_but_shapes_are():
    assert torch.isnan(replace(four(), validate=False, chosen=torch.tensor([0.0, math.nan])).chosen[1])
    with pytest.raises(InputError, match="chosen must have one dimension"):
        replace(four(), validate=False, chosen=torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_half_precision_is_raised_and_gradients_flow_back(dtype):
    leaf = torch.tensor([-1.5, -2.0], dtype=dtype, requires_grad=True)
    batch = Batch(leaf, TWO, TWO, TWO)
    assert batch.chosen.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert torch.autograd.grad(batch.chosen_ratio.sum(), leaf)[0].tolist() == [1, 1]
    assert not batch.detached().chosen.requires_grad


def test_ratios_margins_and_frequencies():
    ref = torch.tensor([[-2.0, -2.0], [-1.0, -4.0]])
    batch = Batch(TWO, -3 * torch.ones(2), *ref, weights=torch.tensor([1.0, 3.0]))
    assert batch.chosen_ratio.tolist() == [1, 0]
    assert batch.rejected_ratio.tolist() == [-2, 1]
    assert batch.margin.tolist() == [2, 1]
    assert batch.ref_margin.tolist() == [-1, 2]
    assert batch.chosen_frequencies.tolist() == batch.rejected_frequencies.tolist() == [0.25, 0.75]
    assert four(2, 4).rejected_frequencies.tolist() == [0.25] * 4
    assert four(2, 4, weights=torch.ones(2)).rejected_frequencies.tolist() == [0.25] * 4
    assert four(2, 1, rejected_weights=torch.tensor([7.0])).rejected_frequencies.tolist() == [1]
    assert four(0, 1).chosen_frequencies.shape == (0,)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 7),
    m=st.integers(1, 7),
    seed=st.integers(0, 50),
    zeros=st.booleans(),
    weighted=st.booleans(),
)
def test_coupling_is_a_coupling_and_optimal(n, m, seed, zeros, weighted):
    """Widths are a law, marginals are right, and a convex cost equals the linear program; ties and zero
    weights included.
    """
    g = torch.Generator().manual_seed(seed)
    u, v = torch.randint(0, 4, (n,), generator=g).double(), torch.randint(0, 4, (m,), generator=g).double()
    p, q = torch.rand(n, generator=g).double() + 0.1, torch.rand(m, generator=g).double() + 0.1
    if zeros and n > 1 and m > 1:
        p[0] = q[-1] = 0
    p, q = p / p.sum(), q / q.sum()
    if not weighted:
        p, q = torch.ones(n).double() / n, torch.ones(m).double() / m
    widths, a, b = quantile_coupling(u, v, p, q) if weighted else quantile_coupling(u, v)
    assert (widths >= 0).all()
    assert widths.sum().item() == pytest.approx(1, abs=1e-12)
    for values, weights, found in ((u, p, a), (v, q, b)):
        for value in values.unique():
            assert widths[found == value].sum().item() == pytest.approx(
                weights[values == value].sum().item(), abs=1e-12
            )
    cost = (widths * (a - b - 0.3) ** 2).sum().item()
    assert cost == pytest.approx(
        transport_cost(u.numpy(), v.numpy(), lambda x: (x - 0.3) ** 2, p.numpy(), q.numpy()), abs=1e-9
    )


def test_coupling_of_equal_counts_is_the_general_one():
    g = torch.Generator().manual_seed(0)
    u, v, w = torch.randn(50, generator=g), torch.randn(50, generator=g), torch.full((50,), 0.02)
    plain, general = (
        float((p * (a - b) ** 2).sum())
        for p, a, b in (quantile_coupling(u, v), quantile_coupling(u, v, w, w))
    )
    assert plain == pytest.approx(general, rel=1e-6)


def test_coupling_batches_and_differentiates():
    g = torch.Generator().manual_seed(1)
    u, v = torch.randn(3, 5, generator=g).double(), torch.randn(3, 4, generator=g).double()
    p, q = (torch.rand(3, k, generator=g).double() for k in (5, 4))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)

    def cost(u, v, p, q):
        widths, a, b = quantile_coupling(u, v, p, q, validate=False)
        return (widths * (a - b).square()).sum()

    for f in (cost, grad(cost), jacrev(grad(cost))):
        torch.testing.assert_close(vmap(f)(u, v, p, q), torch.stack([f(*row) for row in zip(u, v, p, q)]))


def test_metrics_by_hand():
    """Rewards 1, 0, -1 against -1, 0, 2: sorted differences 0, 0, -1."""
    batch = Batch(*torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    found = metrics(batch, beta=2.0)
    expected = {
        "rewards/chosen": 0,
        "rewards/rejected": 2 / 3,
        "rewards/margins": -2 / 3,
        "accuracy": 0.5,
        "dominance_w1": 2 / 3,
        "dominance_w2": 2 / math.sqrt(3),
        "violated_quantiles": 1 / 3,
        "displacement": 0,
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_metrics_of_unpaired_and_weighted_data():
    unpaired = metrics(Batch(*(torch.tensor(x) for x in ([3.0, 1.0], [2.0], [0.0, 0.0], [0.0]))))
    assert "accuracy" not in unpaired
    assert unpaired["violated_quantiles"] == pytest.approx(0.5)
    assert unpaired["dominance_w1"] == pytest.approx(0.5)
    weighted = Batch(
        *torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), weights=torch.tensor([3.0, 1.0])
    )
    assert metrics(weighted)["accuracy"] == pytest.approx(0.75)
    assert metrics(weighted)["displacement"] == pytest.approx(0.75)
    assert all(np.isfinite(x) for x in metrics(weighted).values())


def test_metrics_leave_no_graph():
    leaf = torch.zeros(2, requires_grad=True)
    assert all(isinstance(x, float) for x in metrics(Batch(leaf, TWO, TWO, TWO)).values())
    assert leaf.grad is None


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.5, -0.5], [float("nan"), 1.0]])
def test_quantile_weights_must_be_a_law(weights):
    with pytest.raises(InputError, match=r"p must be non-negative weights of sum 1: divide"):
        quantile_coupling(torch.zeros(2), torch.ones(2), torch.tensor(weights))
