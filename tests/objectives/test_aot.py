"""AOT's identities, its linear program for unequal counts, and what the sort must not do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_batches import classes, gradients, pairs, ratios

from distalign.checks import InputError
from distalign.objectives import aot_paired, aot_unpaired, dpo
from distalign.oracles.transport import transport_cost
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.preferences import quantile_coupling

BETA = 0.7
LOGISTIC = partial(aot_paired, beta=BETA), partial(aot_unpaired, beta=BETA)
COSTS = {
    "logistic": (lambda x: np.logaddexp(0, -BETA * x), {"beta": BETA}),
    "squared_hinge": (lambda x: np.maximum(0.5 - x, 0) ** 2, {"margin": 0.5}),
    "hinge": (lambda x: np.maximum(0.5 - x, 0), {"margin": 0.5}),
    "least_squares": (lambda x: (0.5 - x) ** 2, {"margin": 0.5}),
}


@pytest.mark.parametrize("loss", LOGISTIC)
def test_at_most_dpo_and_equal_for_one_pair_at_the_reference_and_without_reference_margins(loss):
    batch = pairs(0)
    assert loss(batch) < dpo(batch, beta=BETA) - 1e-3
    one = Batch(*(x[:1] for x in (batch.chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected)))
    assert loss(one).item() == pytest.approx(dpo(one, beta=BETA).item(), abs=1e-15)
    start = Batch(batch.ref_chosen, batch.ref_rejected, batch.ref_chosen, batch.ref_rejected)
    torch.testing.assert_close(
        gradients(loss, start), gradients(partial(dpo, beta=BETA), start), rtol=1e-14, atol=0
    )
    level = Batch(batch.chosen, batch.rejected, torch.ones(9).double(), torch.ones(9).double())
    assert aot_paired(level, beta=BETA).item() == pytest.approx(dpo(level, beta=BETA).item(), rel=1e-14)


def test_a_constant_added_to_every_log_ratio_changes_nothing():
    batch = classes(1, 7, 4)
    moved = Batch(batch.chosen + 5, batch.rejected + 5, batch.ref_chosen, batch.ref_rejected)
    assert aot_unpaired(batch, beta=BETA).item() == pytest.approx(
        aot_unpaired(moved, beta=BETA).item(), rel=1e-13
    )


@pytest.mark.parametrize("loss", LOGISTIC)
def test_smaller_sorts_cost_more(loss):
    """Mean over consecutive micro-batches of 64 pairs, halved again and again, down to DPO."""
    batch = pairs(2, 64)
    columns = batch.chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected
    values = [
        np.mean([loss(Batch(*part)).item() for part in zip(*(x.split(size) for x in columns))])
        for size in (64, 32, 16, 8, 4, 2, 1)
    ]
    assert (np.diff(values) > 0).all()
    assert values[-1] == pytest.approx(dpo(batch, beta=BETA).item())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 8),
    m=st.integers(1, 8),
    weighted=st.booleans(),
    penalty=st.sampled_from(sorted(COSTS)),
    seed=st.integers(0, 99),
)
def test_unequal_counts_and_weights_equal_the_linear_program(n, m, weighted, penalty, seed):
    cost, parameters = COSTS[penalty]
    g = torch.Generator().manual_seed(seed)
    w, q = torch.rand(n, generator=g).double() + 0.01, torch.rand(m, generator=g).double()
    batch = classes(seed, n, m, weights=w if weighted else None, rejected_weights=q if weighted else None)
    u, v = batch.chosen_ratio.numpy(), batch.rejected_ratio.numpy()
    p, r = batch.chosen_frequencies.numpy(), batch.rejected_frequencies.numpy()
    program = transport_cost(u, v, cost, p / p.sum(), r / r.sum())
    assert aot_unpaired(batch, penalty=penalty, **parameters).item() == pytest.approx(program, abs=1e-9)


def test_sorting_is_not_optimal_for_the_zero_one_penalty():
    batch = ratios([0.0, 2.0, 4.0], [1.0, 3.0, 5.0])
    widths, a, b = quantile_coupling(batch.chosen_ratio, batch.rejected_ratio)
    assert (widths * (a < b)).sum().item() == pytest.approx(1)
    assert transport_cost([0, 2, 4], [1, 3, 5], lambda x: (x < 0).astype(float)) == pytest.approx(1 / 3)


def test_the_gradient_of_weighted_laws():
    """d/du_i is the mass of i times h' averaged over what i is compared with."""
    batch = ratios(
        [1.0, 0.0], [0.5], weights=torch.tensor([0.25, 0.75]), rejected_weights=torch.tensor([1.0])
    )
    by_chosen, by_rejected = gradients(partial(aot_unpaired, penalty="least_squares", margin=1.0), batch)
    assert by_chosen.tolist() == pytest.approx([-2 * 0.25 * 0.5, -2 * 0.75 * 1.5])
    assert by_rejected.tolist() == pytest.approx([2 * (0.25 * 0.5 + 0.75 * 1.5)])


def test_half_precision_scores_do_not_tie_the_sort():
    """Spacing of bfloat16 at -300 is 2 nats: a sort of the raw values would see ties, the log-ratios of
    float32 do not.
    """
    exact = ratios(torch.linspace(-0.9, 0.9, 7), torch.zeros(7), dtype=torch.float32)
    assert len(exact.chosen_ratio.unique()) == 7
    assert len((exact.chosen - 300).bfloat16().unique()) < 3


def test_a_million_in_float32():
    batch = classes(3, 10**6, 10**6, dtype=torch.float32)
    double = classes(3, 10**6, 10**6)
    assert aot_unpaired(batch, beta=BETA).item() == pytest.approx(
        aot_unpaired(double, beta=BETA).item(), rel=1e-5
    )


def test_what_a_penalty_needs_is_asked_for():
    with pytest.raises(InputError, match="beta is missing: the logistic penalty needs its slope"):
        aot_paired(pairs(4), margin=1.0)
    with pytest.raises(InputError, match="margin is missing: the hinge penalty"):
        aot_paired(pairs(4), penalty="hinge", beta=1.0)
